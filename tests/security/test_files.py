# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owner and mode of all that is written, on targets and on the controller, whatever the umask.

docs/reliability.md has the table. With RECORD=1 this test writes tests/reliability/files.json, of which `make figures`
makes it; otherwise it compares.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import time
import typing as t

import pytest
from fleet import Fleet
from host import Host
from paths import COLLECTIONS, ROOT

TABLE = ROOT / "tests/reliability/files.json"
INSTANCES = "/sys/kernel/tracing/instances"
ROLLBACK = 3
# What only root may read.
PRIVATE = ("/sys/fs/bpf/", "/run/ebpf_fleet/", "/var/lib/ebpf_fleet/")

Paths = t.Dict[str, str]  # "owner kind mode" by path

# As the module does where systemd runs.
_PERSIST = """
import sys
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest, packed
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.persistence import write_manifest
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

manifest = Manifest(Deployed("/o", "0", "packet_count", "auto"))
write_manifest(Place(sys.argv[1], "packet_count", "eth0"), packed(manifest, b"object"), boot.runner)
"""


@pytest.fixture
def host_names() -> t.Sequence[str]:
    return ("one",)


@contextlib.contextmanager
def umask(mask: int) -> t.Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


class Written:
    """All that is there at one of the looks, and was not there before the first."""

    def __init__(self, host: str, names: t.Sequence[t.Tuple[str, str]]) -> None:
        """`names`: regular expressions for the beginnings of paths, and what they are in the table."""
        self.rows: Paths = {}
        self._host = host
        self._names = names
        self._tops = ["/sys/fs/bpf", "/run/ebpf_fleet", "/etc/systemd", "/var/lib/ebpf_fleet", "/usr/local", INSTANCES]
        self._before = set(self._paths())

    def _paths(self) -> t.Iterator[str]:
        for top in self._tops:
            yield top
            for folder, folders, names in os.walk(top):
                yield from (os.path.join(folder, name) for name in folders + names)
                if folder == INSTANCES:
                    folders.clear()  # what is in one is the kernel's

    def look(self, *tops: pathlib.Path) -> None:
        self._tops += map(str, tops)
        for path in set(self._paths()) - self._before:
            if "ebpf-test-" in path and self._host not in path:  # of a concurrent test run
                continue
            with contextlib.suppress(FileNotFoundError):
                self._add(path, os.lstat(path))

    def _add(self, path: str, found: os.stat_result) -> None:
        for pattern, name in self._names:
            path = re.sub(pattern, name, path)
        kind = {stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}.get(stat.S_IFMT(found.st_mode))
        assert (found.st_uid, found.st_gid) == (0, 0), path
        words = f"{kind or 'file'} {stat.S_IMODE(found.st_mode):04o}" if kind != "link" else "link"
        assert self.rows.setdefault(path, words) == words, path


ON_THE_CONTROLLER = ("report.json", "fleet.html", "preflight.json", "inspection")


@pytest.mark.parametrize("mask", ["000", "077"])
def test_modes_are_those_of_the_table(fleet: Fleet, tmp_path: pathlib.Path, mask: str) -> None:
    (host,) = fleet.hosts
    report, inspection = tmp_path / "report.json", tmp_path / "inspection"
    escaped = host.pins.replace("/", "%2F")
    written = Written(
        host.name,
        [
            (f"^{host.pins}", "/sys/fs/bpf/ebpf_fleet"),
            (f"^{tmp_path}/lib", "/var/lib"),
            (f"^{tmp_path}/units", "/etc/systemd/system"),
            (f"(/(?:run|var/lib)/ebpf_fleet)/{escaped}", r"\1/PIN_ROOT"),
            ("^/run/ebpf_fleet/locks/%2F.*", "/run/ebpf_fleet/locks/FOLDER"),
            ("^/run/ebpf_fleet/provisional/.*", "/run/ebpf_fleet/provisional/TOKEN"),
            (f"^{INSTANCES}/ebpf_fleet.*", f"{INSTANCES}/ebpf_fleet.TAG"),
            (f"^{tmp_path}/one", "/usr/local/lib/ebpf_fleet"),
            (f"^{tmp_path}/controller", "controller: ~/.cache/ebpf.fleet"),
            (f"^{tmp_path}/", "controller: "),
            ("(ebpf.fleet/)[0-9a-f]{12}", r"\1HASH"),
            ("(inspection/)one", r"\1HOST"),
            ("/packet_count(?=/|$)", "/NAME"),
            (r"/eth0(%2E10|\.10)?(?=/|$|\.json)", "/INTERFACE"),
            ("/maps/.*", "/maps/MAP"),
            ("packet_count(?=.bpf)", "OBJECT"),
            ("(device.wants/.*|-devices-)eth0", r"\1INTERFACE"),
        ],
    )
    with umask(int(mask, 8)):
        fleet.play("deploy")
        fleet.play("deploy", "-e", "xdp_counter_build=controller")
        fleet.play("facts", "-e", f"xdp_counter_report={report}")
        fleet.play("inspect", "-e", f"xdp_counter_inspection={inspection}")
        fleet.play("report", "-e", f"xdp_report={tmp_path}/fleet.html", "-e", "xdp_counter_interval=0")
        fleet.play("preflight", "-e", f"xdp_preflight_report={tmp_path}/preflight.json")
        _persist(host, tmp_path)
        new = [tmp_path / name for name in ("one", "controller", *ON_THE_CONTROLLER, "lib/ebpf_fleet")]
        written.look(*new, *(tmp_path / "units").iterdir())
        _while_tracing(host, written.look)
        _while_provisional(host, tmp_path / "one/packet_count.bpf.o", written.look)
        fleet.play("remove")
    _check(written.rows)
    _compare(f"umask {mask}", written.rows)


def _persist(host: Host, folder: pathlib.Path) -> None:
    script = 'mount --bind "$0/lib" /var/lib && mount --bind "$0/units" /etc/systemd/system && exec "$@"'
    for name in ("lib", "units"):
        (folder / name).mkdir()
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        folder,
        sys.executable,
        "-W",
        "ignore",
        "-c",
        _PERSIST,
        host.pins,
    ]
    subprocess.run(list(map(str, words)), env={**os.environ, "PYTHONPATH": str(COLLECTIONS)}, check=True)


def _while_tracing(host: Host, look: t.Callable[[], None]) -> None:
    process = host.start("xdp_counter_facts", trace_seconds=2)
    deadline = time.monotonic() + 20
    while not [name for name in os.listdir(INSTANCES) if name.startswith("ebpf_fleet.")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    look()
    out, err = process.communicate(timeout=30)
    assert not json.loads(out).get("failed"), out + err


def _while_provisional(host: Host, path: pathlib.Path, look: t.Callable[[], None]) -> None:
    content = base64.b64encode(path.read_bytes()).decode()
    options = {"object": str(path), "content": content, "name": "packet_count", "interfaces": ["eth0"]}
    host.ok("xdp_program", **options, mode="generic", rollback_after=ROLLBACK)
    look()
    deadline = time.monotonic() + 20
    while os.path.exists("/run/ebpf_fleet/provisional"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _check(rows: Paths) -> None:
    """What must be true whatever the table says."""
    for path, words in rows.items():
        kind, _space, mode = words.partition(" ")
        if kind == "link":
            continue
        assert not int(mode, 8) & 0o022, f"others can write to {path}: {words}"
        if path.startswith(PRIVATE):
            assert not int(mode, 8) & 0o077, f"others can read {path}: {words}"


def _compare(column: str, rows: Paths) -> None:
    table: t.Dict[str, Paths] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if os.environ.get("RECORD"):
        table[column] = dict(sorted(rows.items()))
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    assert rows == table[column], (
        "if that is as it shall be: RECORD=1 pytest tests/security/test_files.py; make figures"
    )

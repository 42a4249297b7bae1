# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run this code on a host that the previous release deployed: nothing is lost, and nothing is done needlessly.

The two releases share only what is on the host: pins, records, manifests. This file imports nothing from module_utils,
so that it need not change with it.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest
from commands import bpftool, sh
from fleet import Fleet, recap
from host import Host
from paths import COLLECTIONS, ROOT

BOTH = ["eth0", "eth0.10"]

Compile = t.Callable[..., str]
Run = t.Callable[..., t.Dict[str, t.Any]]


@pytest.fixture
def before(host: Host, release: pathlib.Path) -> Run:
    """host.ok(), but with the code of the previous release."""
    return functools.partial(host.ok, collections=release)


def python(collections: pathlib.Path, program: str, *arguments: str, wrap: t.Sequence[str] = ()) -> bytes:
    """Run a Python program that imports from these collections; returns its output."""
    words = [*wrap, sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(collections)}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def running(host: Host, interface: str) -> t.Tuple[int, int]:
    """Ids of the pinned link and of its program, which must be the one that `ip` shows."""
    link = bpftool("link", "show", "pinned", host.pin(interface, "link"))
    assert (host.xdp(interface) or {})["prog"]["id"] == link["prog_id"]
    assert bpftool("prog", "show", "pinned", host.pin(interface, "program"))["id"] == link["prog_id"]
    return link["id"], link["prog_id"]


def unchanged(host: Host, options: t.Dict[str, t.Any]) -> None:
    """Check that this code has nothing to do here, in check mode and in a real run."""
    for check in (True, False):
        done = host.ok("xdp_program", check=check, **options)
        assert (done["changed"], done["steps"]) == (False, [])


def test_an_attached_program_keeps_running(host: Host, before: Run, compiled: Compile) -> None:
    path = compiled("packet_count")
    tasks: t.List[t.Dict[str, t.Any]] = [
        {"object": path, "interfaces": [interface], "mode": mode}
        for interface, mode in zip(BOTH, ("native", "generic"))
    ]
    for task in tasks:
        before("xdp_program", **task)
    assert [(host.xdp(each) or {})["mode"] for each in BOTH] == [1, 2]
    for interface, packets in zip(BOTH, (321, 123)):
        host.send(interface, packets)
    ids, state = [running(host, each) for each in BOTH], host.state()
    for task in tasks:
        unchanged(host, task)
    assert ([running(host, each) for each in BOTH], host.state()) == (ids, state)
    for interface in BOTH:
        host.send(interface, 7)
    assert [host.counts(each) for each in BOTH] == [(328, 328 * 64), (130, 130 * 64)]
    facts = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"]
    assert {each: (found["mode"], found["packets"]) for each, found in facts.items()} == {
        "eth0": ("native", 328),
        "eth0.10": ("generic", 130),
    }
    for _link, program in ids:
        (info,) = host.ok("bpf_program_info", id=[program])["programs"]
        assert (info["object"]["path"], info["object"]["checksum"]) == (path, sh("sha256sum", path).split()[0])


def test_upgrade_and_downgrade_keep_link_and_counts(host: Host, before: Run, compiled: Compile) -> None:
    first, second = ({"object": compiled("counter", VERSION=number), "interfaces": BOTH} for number in (1, 2))
    before("xdp_program", **first)
    links = [running(host, each)[0] for each in BOTH]
    sent = 0
    for run, options in ((host.ok, second), (before, second), (before, first), (host.ok, first), (host.ok, second)):
        host.send("eth0", 10)
        sent += 10
        predicted = run("xdp_program", check=True, **options)
        done = run("xdp_program", **options)
        assert done["steps"] == predicted["steps"]
        assert [running(host, each)[0] for each in BOTH] == links
        assert [host.counts(each)[0] for each in BOTH] == [sent, 0]
        tag = bpftool("prog", "show", "pinned", host.pin("eth0", "program"))["tag"]
        assert {each["tag"] for each in done["attachments"]} == {tag}
    host.send("eth0", 10)
    assert host.counts() == (60, 60 * 64)
    unchanged(host, second)


def test_a_detached_program_is_reattached_with_its_counts(host: Host, before: Run, compiled: Compile) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    before("xdp_program", **options)
    host.send("eth0", 50)
    before("xdp_program", state="detached", name="packet_count")
    assert host.xdp("eth0") is None
    host.ok("xdp_program", **options)
    host.send("eth0", 5)
    assert host.counts() == (55, 55 * 64)
    unchanged(host, options)


def test_a_loaded_program_is_attached(host: Host, before: Run, compiled: Compile) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    before("xdp_program", state="loaded", **options)
    program = bpftool("prog", "show", "pinned", host.pin("eth0", "program"))["id"]
    assert host.xdp("eth0") is None
    unchanged(host, {**options, "state": "loaded"})
    done = host.ok("xdp_program", **options)
    assert "load" not in " ".join(done["steps"])
    assert running(host, "eth0")[1] == program
    host.send("eth0", 5)
    assert host.counts() == (5, 320)


@pytest.mark.parametrize("state", ["attached", "detached", "loaded"])
def test_everything_is_removed(host: Host, before: Run, compiled: Compile, state: str) -> None:
    nothing = host.state()
    options = {"object": compiled("packet_count"), "interfaces": BOTH}
    before("xdp_program", **{**options, "state": "loaded" if state == "loaded" else "attached"})
    if state == "detached":
        before("xdp_program", state="detached", name="packet_count")
    assert host.state() != nothing
    host.ok("xdp_program", state="absent", name="packet_count")
    assert host.state() == nothing


@pytest.mark.parametrize("first", ["the previous release", "this code"])
def test_the_two_releases_take_turns(
    host: Host, before: Run, compiled: Compile, tmp_path: pathlib.Path, first: str
) -> None:
    """They share the locks on folders: a run of either waits while a provisional change of the other is pending."""
    one, two = (before, host.ok) if first == "the previous release" else (host.ok, before)
    path = tmp_path / "counter.bpf.o"
    tasks: t.List[t.Dict[str, t.Any]] = [
        {
            "object": str(path),
            "content": base64.b64encode(pathlib.Path(compiled("counter", VERSION=number)).read_bytes()).decode(),
            "interfaces": ["eth0"],
            "name": "packet_count",
        }
        for number in (1, 2, 0)
    ]
    two("xdp_program", **tasks[0])
    one("xdp_program", **tasks[1], rollback_after=3)
    began = time.monotonic()
    done = two("xdp_program", **tasks[2])
    assert time.monotonic() - began > 1 and "write" in " ".join(done["steps"])
    assert path.read_bytes() == pathlib.Path(compiled("counter", VERSION=0)).read_bytes()
    tag = bpftool("prog", "show", "pinned", host.pin("eth0", "program"))["tag"]
    assert tag == done["attachments"][0]["tag"]
    unchanged(host, tasks[2])


# What is restored after a reboot


# Uses the release's own functions. It never changes, because the release does not.
_KEEP = """
import pathlib, sys
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.files import sha256
from ansible_collections.ebpf.fleet.plugins.module_utils.observe import Manifest
from ansible_collections.ebpf.fleet.plugins.module_utils.pins import Place

root, interface, path, generic = sys.argv[1:]
place, content = Place(root, "packet_count", interface), pathlib.Path(path).read_bytes()
manifest = Manifest(path, sha256(content), "packet_count", "auto", replace=False, generic=generic == "generic")
boot.write_manifest(place, boot.packed(manifest, content))
"""


def new_runner() -> bytes:
    """The runner of this code, which restores programs at boot. Adapt the import if runner() moves."""
    program = """
import sys
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
sys.stdout.buffer.write(boot.runner())
"""
    return python(COLLECTIONS, program)


class Kept:
    """Folders mounted over /var/lib and /etc/systemd/system for this host only; this machine's own do not change."""

    def __init__(self, host: Host, folder: pathlib.Path) -> None:
        self.host = host
        self.lib, self.units = folder / "lib", folder / "units"
        self.runner = self.lib / "ebpf_fleet/boot.pyz"
        for path in (self.lib, self.units):
            path.mkdir(mode=0o700)
        script = 'mount --bind "$0" /var/lib && mount --bind "$1" /etc/systemd/system && shift && exec "$@"'
        self.wrap = ["unshare", "--mount", "sh", "-c", script, str(self.lib), str(self.units)]

    def manifest(self, interface: str) -> pathlib.Path:
        root, escaped = self.host.pins.replace("/", "%2F"), interface.replace(".", "%2E")
        return self.lib / f"ebpf_fleet/{root}/packet_count/{escaped}.json"

    def restores(self, interface: str) -> str:
        """Run what the unit runs. -S: it may need nothing but Python itself."""
        words = [sys.executable, "-I", "-S", "-B", "/var/lib/ebpf_fleet/boot.pyz", interface]
        return self.host.enter(*self.wrap, *words, env={"PATH": os.environ["PATH"]})


@pytest.fixture
def kept(host: Host, release: pathlib.Path, compiled: Compile, tmp_path: pathlib.Path) -> t.Iterator[Kept]:
    """What the previous release leaves on a host with `persist`: native on eth0, generic on eth0.10."""
    systemd = pathlib.Path("/etc/systemd/system")
    missing = [path for path in (systemd.parent, systemd) if not path.exists()]
    for path in missing:
        path.mkdir()
    try:
        made = Kept(host, tmp_path)
        for interface, how in zip(BOTH, ("", "generic")):
            python(release, _KEEP, host.pins, interface, compiled("packet_count"), how, wrap=made.wrap)
        yield made
    finally:
        for path in reversed(missing):
            path.rmdir()


def test_a_manifest_is_restored_from_and_left_unchanged(host: Host, compiled: Compile, kept: Kept) -> None:
    path = compiled("packet_count")
    texts = {interface: kept.manifest(interface).read_bytes() for interface in BOTH}
    assert json.loads(texts["eth0"])["object"] == path
    old, new = kept.runner.read_bytes(), new_runner()
    kept.runner.write_bytes(new)
    for interface in BOTH:
        assert f"{interface}: attach by link" in kept.restores(interface)
        host.send(interface, 7)
        assert host.counts(interface) == (7, 448)
    assert [(host.xdp(each) or {})["mode"] for each in BOTH] == [1, 2]
    ids = [running(host, each) for each in BOTH]

    unit = kept.units / "ebpf-fleet@.service"
    assert f'ExecStart="{sys.executable}" -I -B /var/lib' in unit.read_text()
    kept.runner.write_bytes(old)  # as when this code first runs on the host, and installs its own runner
    for again in (False, True):
        for interface in BOTH:
            done = host.ok("xdp_program", object=path, interfaces=[interface], wrap=kept.wrap)
            assert done["attachments"][0]["persistent"] is True
            renewed = [] if again else [f"{interface}: restore it after a reboot"]
            assert done["steps"] in ([], renewed)
            now = json.loads(kept.manifest(interface).read_bytes())
            assert now.pop("format", 1) == 1 and now == json.loads(texts[interface])
    assert kept.runner.read_bytes() == new
    assert "ExecStart=/bin/sh /var/lib" in unit.read_text(), "it does not need the Python that deployed it"
    assert [running(host, each) for each in BOTH] == ids

    host.ok("xdp_program", state="absent", name="packet_count", wrap=kept.wrap)
    assert [path for folder in (kept.lib, kept.units) for path in folder.rglob("*")] == []


# The role


def test_deploying_to_its_fleet(release: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """If the sources differ, each host is upgraded once."""
    source = "files/bpf/packet_count.bpf.c"
    now, then = ((folder / source).read_bytes() for folder in (ROOT, release / "ansible_collections/ebpf/fleet"))
    upgraded = int(now != then)
    fleet = Fleet(tmp_path, ("one", "two"))
    try:
        nothing = [host.state() for host in fleet.hosts]
        fleet.collections = release
        assert recap(fleet.play("deploy")) == [("one", 1, 0), ("two", 1, 0)]
        links = [running(host, each)[0] for host in fleet.hosts for each in BOTH]
        programs = [running(host, each)[1] for host in fleet.hosts for each in BOTH]
        fleet.hosts[0].send("eth0", 321)

        fleet.collections = COLLECTIONS
        assert recap(fleet.play("deploy")) == [("one", upgraded, 0), ("two", upgraded, 0)]
        if upgraded:
            assert recap(fleet.play("deploy")) == [("one", 0, 0), ("two", 0, 0)]
        else:
            assert [running(host, each)[1] for host in fleet.hosts for each in BOTH] == programs
        assert [running(host, each)[0] for host in fleet.hosts for each in BOTH] == links
        fleet.hosts[0].send("eth0", 9)
        fleet.hosts[1].send("eth0.10", 5)
        report = fleet.folder / "report.json"
        fleet.play("facts", "-e", f"xdp_counter_report={report}")
        rows = {(row["host"], row["interface"]): row["packets"] for row in json.loads(report.read_text())}
        assert rows == {("one", "eth0"): 330, ("one", "eth0.10"): 0, ("two", "eth0"): 0, ("two", "eth0.10"): 5}

        assert recap(fleet.play("remove")) == [("one", 2, 0), ("two", 2, 0)]
        assert [host.state() for host in fleet.hosts] == nothing
        assert not (fleet.folder / "one").exists() and not (fleet.folder / "two").exists()
    finally:
        fleet.close()

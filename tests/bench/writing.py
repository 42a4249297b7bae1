# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the writer of metrics costs a host: metrics.pyz, as its systemd service starts it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.declared import Declared, Mapped, written
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.writer import runner
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import MANIFESTS
from host import PINS, Host
from packets import COMMAND, compiled
from report import Row, at_most, of_rounds

SECTION = "writing metrics (CPU time of a run of metrics.pyz)"
INTERVAL = 15  # seconds, the module's default
FEW, MANY = 3, 200
ENTRIES = 10_000

# What the service runs, with its niceness: the shell, each Python that it tries, and the run. Nothing is written to the
# /var/lib of this machine.
PRIVATE = """\
set -e
mount -n -t tmpfs -o mode=755 private /var/lib
mkdir -m 700 "$1"
install -m 600 metrics.json metrics.pyz "$1"
exec nice -n 10 "$2" -c "$3" "$4" /bin/sh "$1/metrics.pyz"
"""
PROBE = """
import json, os, subprocess, sys
found = []
for _round in range(int(sys.argv[1])):
    process = subprocess.Popen(sys.argv[2:])
    _pid, status, used = os.wait4(process.pid, 0)
    assert status == 0
    found.append((used.ru_utime + used.ru_stime) * 1000)
print(json.dumps(found))
"""


def writing(_lib: Libbpf, folder: pathlib.Path, rounds: int) -> t.List[Row]:
    host = Host(f"ebpf-bench-{os.getpid()}")
    try:
        return list(_of_host(host, folder, rounds))
    finally:
        host.close()


def _of_host(host: Host, folder: pathlib.Path, rounds: int) -> t.Iterator[Row]:
    names = [f"v{number}" for number in range(MANY)]
    _count_on(host, folder, names[:FEW])
    yield from _rows(f"{FEW} interfaces", _cpu(host, folder, rounds, FEW))
    yield from _rows(f"{FEW} interfaces and a map of {ENTRIES:,}", _cpu_with_map(host, folder, rounds))
    _count_on(host, folder, names[FEW:])
    yield from _rows(f"{MANY} interfaces", _cpu(host, folder, rounds, MANY))


def _count_on(host: Host, folder: pathlib.Path, names: t.Sequence[str]) -> None:
    """On new interfaces, beside those on which it is."""
    for name in names:
        host.plug(name)
    path = _object(folder, "packet_count")
    host.ok("xdp_program", object=path, name="packet_count", interfaces=names, allow_unsafe_paths=True)


def _cpu_with_map(host: Host, folder: pathlib.Path, rounds: int) -> t.List[float]:
    """One of a fourth interface, which has a series for each entry."""
    listed = folder / "entries.csv"
    listed.write_text("\n".join(["key,value", *(f"{number},{number}" for number in range(ENTRIES))]))
    path = _object(folder, "lists", f"-DENTRIES={ENTRIES}")
    host.ok("xdp_program", object=path, name="lists", interfaces=["eth0.10"], allow_unsafe_paths=True)
    host.ok("bpf_map", name="lists", map="numbers", src=str(listed), format="csv", allow_unsafe_paths=True)
    found = _cpu(host, folder, rounds, FEW + 1, Mapped("lists", "numbers", "number", "A number."))
    host.ok("xdp_program", name="lists", state="absent")
    return found


def _cpu(host: Host, folder: pathlib.Path, rounds: int, interfaces: int, *maps: Mapped) -> t.List[float]:
    """Of each run, in ms."""
    declared = Declared(str(folder), INTERVAL, PINS, ENTRIES, maps)
    (folder / "metrics.json").write_bytes(written(declared))
    (folder / "metrics.pyz").write_bytes(runner())
    where = ["nsenter", f"--net=/run/netns/{host.name}", "unshare", "--mount"]
    words = ["sh", "-c", PRIVATE, "sh", MANIFESTS, sys.executable, PROBE, str(rounds)]
    done = subprocess.run([*where, *words], cwd=folder, capture_output=True, text=True, check=False)
    text = pathlib.Path(declared.file).read_text() if not done.returncode else ""
    of_entries, of_programs = (text.count(f"\nebpf_fleet_{each}{{") for each in ("number_total", "program_attached"))
    if (of_entries, of_programs) != (ENTRIES * len(maps), interfaces) or "\nebpf_fleet_metrics_errors 0\n" not in text:
        sys.exit(f"bench: not all metrics were written: {done.stdout}{done.stderr}{text[-300:]}")
    return t.cast("list[float]", json.loads(done.stdout))


def _rows(what: str, milliseconds: t.Sequence[float]) -> t.Iterator[Row]:
    yield of_rounds(SECTION, f"{what}: a run", milliseconds, "ms", COMMAND)
    shares = [each / 1000 / INTERVAL * 100 for each in milliseconds]
    yield at_most(of_rounds(SECTION, f"{what}: every {INTERVAL} s", shares, "% of a core", COMMAND), 1)


def _object(folder: pathlib.Path, name: str, *flags: str) -> str:
    path = folder / f"{name}.o"
    path.write_bytes(compiled(folder, name, *flags))
    return str(path)

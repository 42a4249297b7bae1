# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host costs its controller over SSH, apart from what it costs the host; and joining what slices have found.

cgroups keep the CPU times apart: ansible-playbook, its forks and its ssh are in one, and each sshd with what it runs in
another.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import time
import typing as t

from fleet_sizes import CONTROLLERS, MAIN, THEIRS
from fleets import Fleet, sshd_on_hosts
from report import Row, of_rounds

HOSTS = 50
SECTION = f"controller, {HOSTS} hosts over SSH (sshd on this machine, 10 forks, pipelining)"
JOINING = "controller, slices of 1,000 hosts joined by the playbook report"
COMMAND = "make bench SECTIONS=controller"
PLAYS = {
    "ping": ("ping.yml",),
    "facts": ("ebpf.fleet.facts",),
    "report": ("ebpf.fleet.report",),
    "deploy, unchanged": ("ebpf.fleet.deploy", "-e", "xdp_counter_build=controller"),
}
JOINED = (1000, 10_000, 100_000)


class Cgroup:
    """A cgroup of version 2, which counts the CPU time of its processes without any controller enabled."""

    def __init__(self, name: str) -> None:
        mounts = pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        root = next(words[1] for words in map(str.split, mounts) if words[2] == "cgroup2")
        self.folder = pathlib.Path(root, f"ebpf-bench-{name}")
        self.folder.mkdir(exist_ok=True)  # a run that was killed has left it
        self.join = f"echo $$ > {self.folder}/cgroup.procs"  # for a shell

    def seconds(self) -> float:
        usage = dict(line.split() for line in (self.folder / "cpu.stat").read_text(encoding="utf-8").splitlines())
        return int(usage["usage_usec"]) / 1e6

    def close(self) -> None:
        """Also of a run that has failed, which may have left connections open."""
        deadline = time.monotonic() + 10
        while self.folder.exists():
            for number in (self.folder / "cgroup.procs").read_text(encoding="utf-8").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(number), signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.folder} still has processes")
            time.sleep(0.1)


def controller(folder: pathlib.Path, rounds: int) -> t.List[Row]:
    with contextlib.closing(Fleet(folder, HOSTS)) as fleet:
        fleet.play(*PLAYS["deploy, unchanged"])
        fleet.play("ebpf.fleet.facts", "-e", f"xdp_slice={fleet.folder}/rows.json")
        read = json.loads((fleet.folder / "rows.json").read_text(encoding="utf-8"))
        rows = _costs(fleet, rounds)
        return rows + [row for hosts in JOINED for row in _joining(fleet, read, hosts)]


class Used(t.NamedTuple):
    """Seconds of CPU: of the controller, of its main process, and of the hosts."""

    here: float
    main: float
    there: float


def _costs(fleet: Fleet, rounds: int) -> t.List[Row]:
    """Of a host more: what a run on one host takes, as Ansible's own start, is taken off."""
    with contextlib.ExitStack() as groups:
        here, there = (groups.enter_context(contextlib.closing(Cgroup(name))) for name in ("controller", "hosts"))
        sockets = sshd_on_hosts(fleet, HOSTS, there.join)
        if not sockets:
            return []
        fleet.before = ("sh", "-c", f'{here.join}; exec "$@"', "sh")

        def used(*command: str) -> Used:
            before = here.seconds(), there.seconds()
            run = fleet.play(*command)
            _close(sockets)  # each run connects anew, as the first of a day does
            assert "deploy" not in command[0] or not run.changed, f"{command}: {run.changed} hosts have changed"
            return Used(here.seconds() - before[0], run.main, there.seconds() - before[1])

        found: t.Dict[str, t.List[Used]] = {}
        for _round, (name, command) in itertools.product(range(rounds), PLAYS.items()):
            one, every = used(*command, "--limit", fleet.every[0]), used(*command)
            found.setdefault(name, []).append(Used(*(1000 * (b - a) / (HOSTS - 1) for a, b in zip(one, every))))
        fleet.before = ()
    return [
        of_rounds(SECTION, f"{name}: {words}", [each[at] for each in runs], "ms/host", COMMAND)
        for name, runs in found.items()
        for at, words in enumerate((CONTROLLERS, MAIN, THEIRS))
    ]


def _close(sockets: pathlib.Path) -> None:
    deadline = time.monotonic() + 10
    for each in sockets.iterdir():
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={each}", "host"], capture_output=True, check=False)
    while any(sockets.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)


def _joining(fleet: Fleet, read: t.Dict[str, t.Any], hosts: int) -> t.Iterator[Row]:
    """As a fleet of that many would have written: the rows of the hosts here, under as many names."""
    folder = fleet.folder / f"slices-{hosts}"
    folder.mkdir()
    names = [f"host{number:06}" for number in range(hosts)]
    for first in range(0, hosts, 1000):
        renamed = dict(zip(names[first : first + 1000], itertools.cycle(read["hosts"].values())))
        (folder / f"{first}.json").write_text(json.dumps({**read, "hosts": renamed}))
    (fleet.folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {name: {} for name in names}}}))
    run = fleet.play("ebpf.fleet.report", "-e", f"xdp_report_from={folder}")
    yield Row(JOINING, f"{hosts:,} hosts: wall", run.wall, "s", COMMAND)
    yield Row(JOINING, f"{hosts:,} hosts: memory", run.memory, "MiB", COMMAND)

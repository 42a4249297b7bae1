# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One controller with a thousand hosts: what one more costs it, its memory, and each way to build beside a ping."""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import typing as t

from fleets import Fleet, Run
from report import Row, at_most, of_rounds

SECTION = "scale, {} hosts (network namespaces of this machine, 10 forks, pipelining)"
COMMAND = "make bench SECTIONS=scale"
FEW = 50
MOST_OVER_PING = 1.5
WAYS = ("target", "controller", "prebuilt")
READING = {"ping": "ping.yml", "facts": "ebpf.fleet.facts", "report": "ebpf.fleet.report"}
Runs = t.Dict[str, t.List[Run]]


def scaling(folder: pathlib.Path, many: int) -> t.List[Row]:
    """Fifty hosts are measured before and after the many: these machines change speed by the minute."""
    with contextlib.closing(Fleet(folder, many)) as fleet:
        prebuilt = _compiled(fleet)
        fleet.take(FEW)
        before = _measure(fleet, prebuilt, rounds=3)
        fleet.take(many)
        _deploy(fleet, prebuilt, "target")
        runs = _measure(fleet, prebuilt, rounds=1)
        fleet.take(FEW)
        after = _measure(fleet, prebuilt, rounds=2)
    few = {name: found + after[name] for name, found in before.items()}
    return [*_beside_ping(FEW, few), *_beside_ping(many, runs), *_cost_of_a_host(few, runs, many)]


def _compiled(fleet: Fleet) -> pathlib.Path:
    """The object that all ways to build make, from the first of the hosts."""
    first = fleet.every[0]
    fleet.take(1)
    _deploy(fleet, pathlib.Path("/nowhere"), "target")
    made = fleet.folder / first / "packet_count.bpf.o"
    kept = fleet.folder / "prebuilt.bpf.o"
    kept.write_bytes(made.read_bytes())
    fleet.take(FEW)
    _deploy(fleet, kept, "target")
    return kept


def _deploy(fleet: Fleet, prebuilt: pathlib.Path, build: str) -> Run:
    return fleet.play("ebpf.fleet.deploy", "-e", f"xdp_counter_build={build}", "-e", f"xdp_counter_object={prebuilt}")


def _measure(fleet: Fleet, prebuilt: pathlib.Path, rounds: int) -> Runs:
    """By what ran, on hosts to which everything is deployed."""
    runs: Runs = {}
    for _round in range(rounds):
        for name, playbook in READING.items():
            runs.setdefault(name, []).append(fleet.play(playbook, "-e", f"xdp_report={fleet.folder}/fleet.html"))
        for build in WAYS:
            done = _deploy(fleet, prebuilt, build)
            assert done.changed == 0, f"{build}: {done.changed} hosts have changed"
            runs.setdefault(f"deploy, unchanged, build: {build}", []).append(done)
    return runs


def _beside_ping(hosts: int, runs: Runs) -> t.Iterator[Row]:
    section = SECTION.format(hosts)
    for name, found in runs.items():
        yield of_rounds(section, f"{name}: wall", [each.wall for each in found], "s", COMMAND)
        yield of_rounds(section, f"{name}: memory of the controller", [each.memory for each in found], "MiB", COMMAND)
    for name, found in runs.items():
        if name.startswith("deploy"):
            ratios = [each.wall / ping.wall for each, ping in zip(found, runs["ping"])]
            yield at_most(of_rounds(section, f"{name}, over ping: wall", ratios, "times", COMMAND), MOST_OVER_PING)


def _cost_of_a_host(few: Runs, runs: Runs, many: int) -> t.Iterator[Row]:
    section = SECTION.format(f"{FEW} and {many}")
    for name, found in runs.items():
        usual = statistics.median(each.cpu for each in few[name]) / FEW
        ratios = [each.cpu / many / usual for each in found]
        row = of_rounds(section, f"{name}: cost of a host, {many} over {FEW}", ratios, "times", COMMAND)
        yield at_most(row, 1.1)
        more = statistics.median(each.memory for each in found) - statistics.median(each.memory for each in few[name])
        yield Row(section, f"{name}: memory of one more host", more / (many - FEW) * 1024, "KiB", COMMAND)

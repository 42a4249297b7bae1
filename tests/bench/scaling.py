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
RECOMMENDED = "controller"
WAYS = (RECOMMENDED, "target", "prebuilt")
DEPLOY = "deploy, unchanged, build: {}"
PLAYS = {"ping": "ping.yml", "facts": "ebpf.fleet.facts", "report": "ebpf.fleet.report"}
Runs = t.Dict[str, t.List[Run]]


class Fleets:
    """The same hosts as a small and as a large fleet, with the counter deployed."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        fleet.take(1)
        self._play("ebpf.fleet.deploy", "-e", "xdp_counter_build=target")
        self.prebuilt = fleet.folder / "prebuilt.bpf.o"
        self.prebuilt.write_bytes((fleet.folder / fleet.every[0] / "packet_count.bpf.o").read_bytes())

    def _play(self, playbook: str, *more: str) -> Run:
        return self.fleet.play(playbook, "-e", f"xdp_report={self.fleet.folder}/fleet.html", *more)

    def deploy(self, build: str) -> Run:
        return self._play(
            "ebpf.fleet.deploy", "-e", f"xdp_counter_build={build}", "-e", f"xdp_counter_object={self.prebuilt}"
        )

    def measure(self, runs: Runs, names: t.Iterable[str]) -> None:
        """Names of PLAYS, or of ways to build, on hosts to which everything is deployed."""
        for name in names:
            if name in PLAYS:
                runs.setdefault(name, []).append(self._play(PLAYS[name]))
                continue
            done = self.deploy(name)
            assert done.changed == 0, f"{name}: {done.changed} hosts have changed"
            runs.setdefault(DEPLOY.format(name), []).append(done)


def scaling(folder: pathlib.Path, many: int) -> t.List[Row]:
    """These machines change speed by the minute: the few are measured before and after the many, and pings between."""
    few: Runs = {}
    runs: Runs = {}
    with contextlib.closing(Fleet(folder, many)) as fleet:
        fleets = Fleets(fleet)
        fleet.take(FEW)
        fleets.deploy("target")
        for _round in range(2):
            fleets.measure(few, (*PLAYS, *WAYS))
        fleet.take(many)
        fleets.deploy(RECOMMENDED)
        fleets.measure(runs, ("ping", "facts", RECOMMENDED, "ping", RECOMMENDED, "report", "ping"))
        fleet.take(FEW)
        fleets.measure(few, (*PLAYS, *WAYS))
    return [*_beside_ping(FEW, few), *_beside_ping(many, runs), *_cost_of_a_host(few, runs, many)]


def _beside_ping(hosts: int, runs: Runs) -> t.Iterator[Row]:
    section = SECTION.format(hosts)
    for name, found in runs.items():
        yield of_rounds(section, f"{name}: wall", [each.wall for each in found], "s", COMMAND)
        yield of_rounds(section, f"{name}: memory of the controller", [each.memory for each in found], "MiB", COMMAND)
    ping = statistics.mean(each.wall for each in runs["ping"])
    for name, found in runs.items():
        if name.startswith("deploy"):
            row = of_rounds(section, f"{name}, over ping: wall", [each.wall / ping for each in found], "times", COMMAND)
            yield at_most(row, MOST_OVER_PING)


def _cost_of_a_host(few: Runs, runs: Runs, many: int) -> t.Iterator[Row]:
    section = SECTION.format(f"{FEW} and {many}")
    for name, found in runs.items():
        usual = statistics.mean(each.cpu for each in few[name]) / FEW
        ratios = [each.cpu / many / usual for each in found]
        row = of_rounds(section, f"{name}: cost of a host, {many} over {FEW}", ratios, "times", COMMAND)
        yield at_most(row, 1.1)
        # Not the mean: in the first run on the controller, clang is larger than Ansible.
        more = statistics.median(each.memory for each in found) - statistics.median(each.memory for each in few[name])
        yield Row(section, f"{name}: memory of one more host", more / (many - FEW) * 1024, "KiB", COMMAND)

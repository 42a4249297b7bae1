# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forks, slices and seconds of a fleet, by its size: from what the sections controller and scale measured."""

from __future__ import annotations

import math
import re
import typing as t

from report import Row, recorded

# What the section controller measures for each playbook, in ms for each host.
CONTROLLERS = "CPU of the controller"
MAIN = "CPU of its main process, which has one at most"
THEIRS = "CPU of the host"

CPUS = 4  # of a controller
ANSWERS = 1  # seconds for which a host takes a fork, in most of which the fork waits
AT_MOST = 300  # seconds for an unchanged deploy of a slice
FLEETS = (100, 1000, 10_000, 100_000)
FACTS, DEPLOY = "facts", "deploy, unchanged"

Cost = t.Mapping[str, float]  # seconds of CPU for each host, by name


def in_docs() -> None:
    """Print the tables, as Markdown. cog puts them into docs/scale.md."""
    _sections, rows = recorded()
    cost = {row.name: row.value / 1000 for row in rows if row.unit == "ms/host"}
    (few, at_few), (many, at_many) = _memory(rows)
    facts, deploy = hosts_a_second(cost, FACTS), hosts_a_second(cost, DEPLOY)
    forks = math.ceil(max(facts, deploy) * ANSWERS)
    print("\n| hosts | slices | hosts of each | forks | facts | deploy, unchanged | memory of its main process |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for hosts in FLEETS:
        slices = math.ceil(hosts / deploy / AT_MOST)
        share = math.ceil(hosts / slices)
        waits = ANSWERS * math.ceil(share / forks)
        took = " | ".join(_words(max(share / rate, waits)) for rate in (facts, deploy))
        memory = at_few + (at_many - at_few) / (many - few) * (share - few)
        print(f"| {hosts:,} | {slices} | {share:,} | {min(forks, share)} | {took} | {memory:.0f} MiB |")
    print(f"\nA controller has {CPUS} CPUs here; a host takes a fork for {ANSWERS} s. CPU time for each host, in ms:\n")
    print("| | on the controller | of that, in its main process | on the host |")
    print("|---|---:|---:|---:|")
    for name in ("ping", FACTS, "report", DEPLOY):
        times = " | ".join(f"{1000 * cost[f'{name}: {each}']:.0f}" for each in (CONTROLLERS, MAIN, THEIRS))
        print(f"| {name} | {times} |")


def joining() -> None:
    """Print how long it takes to join slices, as a sentence in Markdown. cog puts it into docs/scale.md."""
    rows = {row.name: row.value for row in recorded()[1] if row.section.endswith("joined by the playbook report")}
    sizes = [name.rpartition(":")[0] for name in rows if name.endswith(": wall")]
    words = [f"{each} {_words(rows[f'{each}: wall'])} and {rows[f'{each}: memory']:.0f} MiB" for each in sizes]
    print(f"- To join files of 1,000 hosts each takes, with reading the inventory, for {', for '.join(words)}.")


def _memory(rows: t.Iterable[Row]) -> t.List[t.Tuple[int, float]]:
    """Of an unchanged deploy, in MiB, by the hosts of the two fleets in the section scale."""
    name = f"{DEPLOY}, build: controller: memory of the controller"
    found = [(re.match(r"scale, (\d+) hosts", row.section), row.value) for row in rows if row.name == name]
    return sorted((int(hosts[1]), value) for hosts, value in found if hosts)


def hosts_a_second(cost: Cost, name: str) -> float:
    """One controller's, whose main process has one CPU at most."""
    return min(1 / cost[f"{name}: {MAIN}"], CPUS / cost[f"{name}: {CONTROLLERS}"])


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"

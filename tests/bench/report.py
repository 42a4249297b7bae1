# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the benchmark's tables: a figure, its spread, the command behind it, and the bar that it is held against."""

from __future__ import annotations

import collections
import json
import re
import statistics
import textwrap
import typing as t


class Row(t.NamedTuple):
    """One line. `value` is the median of the rounds, `low` and `high` their quartiles; `goal` is its bar in words.

    met is None where there is no bar; `exact` marks rows that decide the exit code.
    """

    section: str
    name: str
    value: float
    unit: str
    command: str
    low: t.Optional[float] = None
    high: t.Optional[float] = None
    goal: str = ""
    met: t.Optional[bool] = None
    exact: bool = False


def of_rounds(section: str, name: str, rounds: t.Sequence[float], unit: str, command: str, **more: t.Any) -> Row:
    ordered = sorted(rounds)
    quarter = len(ordered) // 4
    return Row(
        section, name, statistics.median(ordered), unit, command, ordered[quarter], ordered[-1 - quarter], **more
    )


def at_most(row: Row, limit: float, words: str = "") -> Row:
    return row._replace(goal=words or f"at most {limit:g}", met=row.value <= limit)


def at_least(row: Row, limit: float, words: str = "") -> Row:
    return row._replace(goal=words or f"at least {limit:g}", met=row.value >= limit)


def table(rows: t.Sequence[Row]) -> str:
    lines: t.List[str] = []
    for section in dict.fromkeys(row.section for row in rows):
        mine = [row for row in rows if row.section == section]
        lines += ["", section, "-" * len(section)]
        lines += [_line(row) for row in mine]
        lines += [f"  $ {command}" for command in dict.fromkeys(row.command for row in mine)]
    return "\n".join(lines[1:])


def _line(row: Row) -> str:
    spread = "" if row.low is None or row.high is None else f"{_number(row.low)} to {_number(row.high)}"
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    return f"{row.name:58} {_number(row.value):>12} {row.unit:14} {spread:22} {row.goal:34} {verdict}".rstrip()


def _number(value: float) -> str:
    if value == int(value) and abs(value) >= 1000:
        return f"{int(value):,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def in_readme(path: str = "tests/bench/results.json") -> None:
    """Print the rows that have a bar, of the run that results.json is of, as Markdown. cog puts it into the README."""
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    rows = [Row(**row) for row in results["rows"]]
    print("\n| | figure | bar | |\n|---|---:|---|---|")
    for section in dict.fromkeys(row.section for row in rows if row.goal):
        print(f"| **{section}** | | | |")
        for row in rows:
            if row.goal and row.section == section:
                figure = f"{_number(row.value)} {row.unit}".replace(" of 1", "").replace("in all", "").strip()
                print(f"| {row.name} | {figure} | {row.goal} | {'met' if row.met else '**missed**'} |")
    print(f"\n`make bench{' MODE=full' if results['full'] else ''}` on {', '.join(results['machine'].values())}.\n")
    figures = {_key(row.name): f"{_number(row.value)} {row.unit}" for row in rows if ", 200 hosts" not in row.section}
    known = collections.defaultdict(lambda: "(not in this run)", figures)
    print("What the limits are, in the same run:\n")
    for limit in LIMITS:
        print(textwrap.fill(limit.format_map(known), 118, subsequent_indent="  ", break_on_hyphens=False))


def _key(name: str) -> str:
    """A row's name as str.format() can look it up."""
    return re.sub(r"\W+", "_", name).strip("_")


# What stands behind the bars that are missed, with the figures of the same run, by their rows' names.
LIMITS = (
    "- **A packet.** An empty program takes {empty_program}. The least per-CPU counter that the kernel offers takes"
    " {a_per_CPU_counter_and_nothing_else_above_empty} more than that, and ours"
    " {ours_above_a_per_CPU_counter_and_nothing_else} more than this counter. Packets of several buffers have to ask"
    " for their length, by a call that alone takes {empty_but_for_asking_its_length_above_empty}. A mapped array"
    " has no lookup, and room for a fixed number of CPUs; an atomic is cheaper on some CPUs, while no other counts.",
    "- **A module.** Ansible sends sources, and the target's Python compiles them in each task, twice: a flaw of its"
    " zipimport (python/cpython#141276), for which a mend is under way. Of xdp_counter_facts compiling takes"
    " {xdp_counter_facts_of_them_compiling_its_Python_sources}, the second time"
    " {xdp_counter_facts_a_second_time_python_cpython_141276} of it; of xdp_program"
    " {xdp_program_unchanged_of_them_compiling_its_Python_sources} and"
    " {xdp_program_unchanged_a_second_time_python_cpython_141276}. What they do then takes"
    " {xdp_counter_facts_kernel_work} and {xdp_program_unchanged_kernel_work}; Python's and Ansible's own start, before"
    " it, {Python_s_and_Ansible_s_own_start_ping}. Each further interface adds"
    " {xdp_program_unchanged_each_of_200_further_interfaces} to xdp_program.",
    "- **A fleet.** Most of it is Ansible's: on the clock, with 50 hosts, ping takes {ping_wall},"
    " xdp_counter_facts {xdp_counter_facts_wall}, and an unchanged deploy, which runs one module on the host and"
    " two tasks on the controller, {deploy_unchanged_wall}.",
)

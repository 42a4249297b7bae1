# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the benchmark's tables: a figure, its spread, the command behind it, and the bar that it is held against."""

from __future__ import annotations

import json
import statistics
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
    figures = {row.name: f"{_number(row.value)} {row.unit}" for row in rows}
    about = ", ".join(results["machine"].values())
    start, length = "Python's and Ansible's own start (ping)", "empty, but for asking its length, above empty"
    print(f"\n`make bench{' MODE=full' if results['full'] else ''}` on {about}.")
    print(f"On this machine an empty XDP program takes {figures['empty program']} a packet. One that only asks for its")
    print(f"length, as packets of several buffers need it, takes {figures[length]} more, and the least per-CPU counter")
    print(f"{figures['a per-CPU counter and nothing else, above empty']} more. Python's and Ansible's own start takes")
    print(f"{figures[start]}.")

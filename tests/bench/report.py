# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the benchmark's tables: a figure, its spread, the command that measures it, and its bar."""

from __future__ import annotations

import collections
import json
import os
import re
import statistics
import textwrap
import typing as t

RESULTS = "tests/bench/results.json"
SECTIONS = ("cost", "exactness", "traffic", "maps", "leaks", "modules", "metrics", "fleets", "scale", "controller")


class Row(t.NamedTuple):
    """One row. `value` is the median of the rounds, `low` and `high` are their quartiles; `goal` is the bar in words.

    `met` is None if there is no bar; `exact` marks rows that decide the exit code.
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


def with_bars(path: str = RESULTS) -> None:
    """Print those rows of results.json that have a bar, as Markdown. cog puts it into docs/figures.md."""
    sections, rows = recorded(path)
    print("\n| | figure | bar | |\n|---|---:|---|---|")
    for section in dict.fromkeys(row.section for row in rows if row.goal):
        print(f"| **{section}** | | | |")
        for row in rows:
            if row.goal and row.section == section:
                figure = f"{_number(row.value)} {row.unit}".replace(" of 1", "").replace("in all", "").strip()
                print(f"| {row.name} | {figure} | {row.goal} | {'met' if row.met else '**missed**'} |")
    runs: t.Dict[str, t.List[str]] = {}
    for name, each in sections.items():
        run = f"`make bench{' MODE=full' if each['full'] else ''}` on {', '.join(each['machine'].values())}."
        runs.setdefault(run, []).append(name)
    for run, names in runs.items():
        print(f"\n{run}" if len(runs) == 1 else f"\n{', '.join(names)}: {run}")
    print()
    print("What sets the limits, measured in the same run:\n")
    _print_filled(LIMITS, rows)


def headlines(path: str = RESULTS) -> None:
    """Print the most important figures, as sentences in Markdown. cog puts them into the README."""
    _sections, rows = recorded(path)
    _print_filled(HEADLINES, rows)


def writing_metrics(path: str = RESULTS) -> None:
    """Print what it costs a host to write metrics, as a sentence in Markdown. cog puts it into docs/metrics.md."""
    _sections, rows = recorded(path)
    _print_filled(WRITING, rows)


Sections = t.Dict[str, t.Dict[str, t.Any]]  # by the names of SECTIONS: the machine, whether full, and the rows


def record(measured: t.Mapping[str, t.Sequence[Row]], machine: t.Mapping[str, str], full: bool, path: str) -> None:
    """Write what was measured into results.json. Sections that were not keep their figures, and their machine."""
    sections: Sections = recorded(path)[0] if os.path.exists(path) else {}
    for name, rows in measured.items():
        sections[name] = {"machine": machine, "full": full, "rows": [row._asdict() for row in rows]}
    ordered = {name: sections[name] for name in sorted(sections, key=SECTIONS.index)}
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def recorded(path: str = RESULTS) -> t.Tuple[Sections, t.List[Row]]:
    with open(path, encoding="utf-8") as file:
        sections: Sections = json.load(file)
    return sections, [Row(**row) for each in sections.values() for row in each["rows"]]


def _print_filled(sentences: t.Sequence[str], rows: t.Sequence[Row]) -> None:
    """Print Markdown, with the names of rows replaced by their figures."""
    known = collections.defaultdict(lambda: "(not in this run)", _figures(rows))
    for sentence in sentences:
        print(textwrap.fill(sentence.format_map(known), 118, subsequent_indent="  ", break_on_hyphens=False))


def _figures(rows: t.Sequence[Row]) -> t.Dict[str, str]:
    """Each row's figure by its name, from the largest fleet below 200 hosts; and counts over all rows.

    Not of the sections scale and controller, whose rows have names of others.
    """
    found: t.Dict[str, str] = {}
    for row in rows:
        if ", 200 hosts" in row.section or row.section.startswith(("scale, ", "controller, ")):
            continue
        sent = re.search(r", of ([\d,]+)$", row.name)
        if sent:
            packets = int(sent.group(1).replace(",", ""))
            found[_key(row.name[: sent.start()]) + "_packets"] = f"{round(row.value * packets):,} of {packets:,}"
        hosts = re.match(r"control plane, (\d+) hosts \(", row.section)
        if hosts:
            found["hosts"] = hosts.group(1)
        found[_key(row.name)] = f"{_number(row.value)} {row.unit}"
    bars = [row for row in rows if row.goal]
    return {**found, "bars": str(len(bars)), "missed": str(sum(not row.met for row in bars))}


def _key(name: str) -> str:
    """A row's name in a form that str.format() can look up."""
    return re.sub(r"\W+", "_", name).strip("_")


# Sentences for the README; the placeholders are names of rows.
HEADLINES = (
    "- **A packet.** Counting takes {ours_above_empty} a packet more than doing nothing (64 bytes, BPF_PROG_TEST_RUN).",
    "- **Exactness.** {ours_packets} packets were counted while two CPUs counted at once, and"
    " {ours_50_upgrades_during_traffic_counted_over_sent_packets} real frames during 50 upgrades.",
    "- **A fleet.** On {hosts} hosts, a deploy takes {deploy_over_rival_first_wall} as long as a playbook of copy,"
    " clang and bpftool commands, and {deploy_over_rival_unchanged_wall} as long if nothing has changed.",
    "- **Missed.** {missed} of {bars} figures miss the bar that they are held to; [docs/figures.md](docs/figures.md)"
    " has all of them, and says what sets the limits.",
)

# A sentence for docs/metrics.md.
WRITING = (
    "- **A run is short.** On a host with three interfaces it takes {3_interfaces_a_run} of CPU time, every 15 s"
    " {3_interfaces_every_15_s}; with 200 interfaces {200_interfaces_a_run}, {200_interfaces_every_15_s}; with three"
    " and a map of 10,000 entries {3_interfaces_and_a_map_of_10_000_a_run},"
    " {3_interfaces_and_a_map_of_10_000_every_15_s} (`make bench`). It has a nice value of 10.",
)

# Why bars are missed, with figures of the same run; the placeholders are names of rows.
LIMITS = (
    "- **A packet.** An empty program takes {empty_program}. The cheapest per-CPU counter that the kernel offers adds"
    " {a_per_CPU_counter_and_nothing_else_above_empty}, and ours adds"
    " {ours_above_a_per_CPU_counter_and_nothing_else} to that. For packets of several buffers the program must ask for"
    " the length, by a call that alone takes {empty_but_for_asking_its_length_above_empty}. A mapped array needs no"
    " lookup, but has room for a fixed number of CPUs only. An atomic counter is cheaper on some CPUs while no other"
    " CPU counts.",
    "- **A module.** Ansible sends source code, and the target's Python compiles it in each task. That takes"
    " {xdp_counter_facts_of_them_compiling_its_Python_sources} for xdp_counter_facts, and"
    " {xdp_program_unchanged_of_them_compiling_its_Python_sources} for xdp_program. Their own work then takes"
    " {xdp_counter_facts_kernel_work} and {xdp_program_unchanged_kernel_work}. Before that, Python and Ansible take"
    " {Python_s_and_Ansible_s_own_start_ping} to start. Each further interface adds"
    " {xdp_program_unchanged_each_of_200_further_interfaces} to an unchanged xdp_program.",
    "- **A fleet.** Most of the time is Ansible's own. With {hosts} hosts, in wall time, ping takes {ping_wall},"
    " xdp_counter_facts takes {xdp_counter_facts_wall}, and an unchanged deploy, which runs one module on the host and"
    " two tasks on the controller, takes {deploy_unchanged_wall}.",
)

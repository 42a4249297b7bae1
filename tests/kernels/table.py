# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcomes as text, kernel by kernel, and as a Markdown table with a column for each kernel."""

from __future__ import annotations

import typing as t

from guest import ROWS, Outcome, Result


def text(outcomes: t.Sequence[Outcome]) -> str:
    lines = []
    for outcome in outcomes:
        about = outcome.about
        lines.append(f"\n{outcome.guest.name}: {about.get('kernel', 'not booted')} of {outcome.guest.suite}")
        if about:
            lines[-1] += (
                f"; userland of {outcome.guest.userland}: libbpf {about['libbpf']}, bpftool {about['bpftool']},"
                f" Python {about['python']}"
            )
        if outcome.problem:
            lines.append(f"  FAILED  {outcome.problem}")
        for name, result in outcome.results.items():
            lines.append(f"  {'passed' if result.passed else 'FAILED'}  {name:58} {result.text}")
    return "\n".join(lines)


def markdown(outcomes: t.Sequence[Outcome]) -> str:
    def row(name: str, cells: t.Iterable[str]) -> str:
        return f"| {' | '.join([name, *map(cell, cells)])} |"

    def about(key: str) -> t.List[str]:
        return [outcome.about.get(key, "?") for outcome in outcomes]

    lines = [
        row("", [outcome.guest.name for outcome in outcomes]),
        "|---" * (len(outcomes) + 1) + "|",
        row("kernel", about("kernel")),
        row("architecture", [outcome.guest.arch for outcome in outcomes]),
        row("of Debian's suite", [outcome.guest.suite for outcome in outcomes]),
        row("userland of Debian's suite", [outcome.guest.userland for outcome in outcomes]),
        row("libbpf", about("libbpf")),
        row("bpftool", about("bpftool")),
        row("Python", about("python")),
        row("run at commit", about("commit")),
    ]
    lines += [row(name, [verdict(outcome.results.get(name)) for outcome in outcomes]) for name in ROWS]
    if any(outcome.problem for outcome in outcomes):
        lines.append(row("**did not end as it should**", [outcome.problem for outcome in outcomes]))
    return "\n".join(lines)


def totals(outcomes: t.Sequence[Outcome]) -> str:
    results = [result for outcome in outcomes for result in outcome.results.values()]
    passed = sum(result.passed for result in results)
    return f"{passed} passed, {len(results) - passed} failed"


def verdict(result: t.Optional[Result]) -> str:
    if not result:
        return "not there yet"  # when that guest was run
    return result.text if result.passed else f"**FAILED**: {result.text}"


def cell(words: str) -> str:
    """A text in a Markdown table."""
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;")


def in_readme(path: str = "docs/kernels.md") -> None:
    """Print what was tested, from the table. cog puts it into the README."""
    rows: t.Dict[str, t.List[str]] = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, *cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            rows.setdefault(name, list(dict.fromkeys(cells)))

    def listed(name: str) -> str:
        *most, last = rows[name]
        return f"{', '.join(most)} and {last}" if most else last

    rows["kernel"] = list(dict.fromkeys(kernel.partition("-")[0] for kernel in rows["kernel"]))
    print(f"- kernels {listed('kernel')}, on {listed('architecture')}")
    print(f"- libbpf {listed('libbpf')}, Python {listed('Python')}: the userlands of Debian's", end=" ")
    print(listed("userland of Debian's suite"))

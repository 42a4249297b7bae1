# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of counter_rows as a table for a terminal. Pure."""

from __future__ import annotations

import typing as t

from ..module_utils.border.text import one_line

Row = t.Mapping[str, t.Any]

HEADINGS = ("HOST", "INTERFACE", "MODE", "PACKETS", "BYTES", "PACKETS/S")
NUMBERS = ("packets", "bytes", "packets_per_second")
BETWEEN = "  "
SHORTEST = 8  # to which the name of a host is cut


def report(
    rows: t.Sequence[Row], not_read: t.Mapping[str, Row], width: int, height: t.Optional[int] = None
) -> t.List[str]:
    """The table, and below it which counts are not exact, and which hosts were not read, and why.

    What does not fit into `height` lines are the last rows of the table.
    """
    remarks = [
        f"{one_line(row['host'])} {one_line(row['interface'])} is not exact: {one_line(row['inexact_because'])}"
        for row in rows
        if row.get("inexact_because")
    ]
    for host, answer in not_read.items():
        remarks.append(f"{one_line(host):20} not read: {one_line(answer.get('msg', 'it did not say why'))}")
    return table(rows, width, None if height is None else height - len(remarks)) + remarks


def table(rows: t.Sequence[Row], width: int, height: t.Optional[int] = None) -> t.List[str]:
    """The lines: headings, rows, those with the highest rates first if there are rates, and sums if there are several.

    If they are wider than `width`, names of hosts are cut, as far as they still differ. Numbers never are. If there are
    more than `height`, the last rows are left out, and the last line says how many.
    """
    if any(row["packets_per_second"] is not None for row in rows):
        rows = sorted(rows, key=lambda row: -(row["packets_per_second"] or 0))
    shown = rows
    if height is not None and len(rows) > height - 2:
        shown = rows[: max(height - 3, 1)]
    cells = [[one_line(row["host"]), one_line(row["interface"]), _mode(row), *_numbers(row)] for row in shown]
    if len(rows) > 1:
        cells.append(["TOTAL", "", "", *_numbers({name: _total(rows, name) for name in NUMBERS})])
    cells.insert(0, list(HEADINGS))
    _cut(cells, width)
    widths = [max(map(len, column)) for column in zip(*cells)]
    texts = len(HEADINGS) - len(NUMBERS)
    lines = [
        BETWEEN.join(
            cell.ljust(size) if column < texts else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(line, widths))
        )
        for line in cells
    ]
    return lines if len(shown) == len(rows) else [*lines, f"and {len(rows) - len(shown)} more, which TOTAL contains"]


def _mode(row: Row) -> str:
    return row["mode"] or ("moved" if row.get("moved") else "detached")


def _numbers(row: Row) -> t.List[str]:
    return ["-" if row[name] is None else str(row[name]) for name in NUMBERS]


def _total(rows: t.Iterable[Row], name: str) -> t.Any:
    found = [row[name] for row in rows if row[name] is not None]
    # Of rates, which have three digits behind the point.
    return round(sum(found), 3) if found else None


def _cut(cells: t.Sequence[t.List[str]], width: int) -> None:
    total = sum(max(map(len, column)) for column in zip(*cells)) + len(BETWEEN) * (len(HEADINGS) - 1)
    names = {line[0] for line in cells}
    size = max(max(map(len, names)) - max(0, total - width), SHORTEST)
    if total > width and len({_shortened(name, size) for name in names}) == len(names):
        for line in cells:
            line[0] = _shortened(line[0], size)


def _shortened(name: str, size: int) -> str:
    return name if len(name) <= size else f"{name[: size - 1]}…"

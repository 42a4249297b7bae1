# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the playbook facts."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.plugin_utils.counter_table import report, table


def row(host: str, packets: t.Optional[int], rate: t.Optional[float] = None, **more: t.Any) -> t.Dict[str, t.Any]:
    size = None if packets is None else packets * 64
    values = {"host": host, "interface": "eth0", "mode": "native", "packets": packets, "bytes": size}
    return {**values, "packets_per_second": rate, **more}


def test_columns_and_sums() -> None:
    assert table([row("web1", 321), row("web2", None), row("web10", 7, mode=None)], 67) == [
        "HOST   INTERFACE  MODE      PACKETS  BYTES  PACKETS/S",
        "web1   eth0       native        321  20544          -",
        "web2   eth0       native          -      -          -",
        "web10  eth0       detached        7    448          -",
        "TOTAL                           328  20992          -",
    ]
    assert len(table([], 67)) == 1 and len(table([row("web1", 1)], 67)) == 2


def test_by_rate_if_there_are_rates() -> None:
    lines = table([row("a", 1, 0.5), row("b", 1), row("c", 1, 10.0), row("d", 1, 9.25)], 67)
    assert [line.split()[0] for line in lines[1:]] == ["c", "d", "a", "b", "TOTAL"]
    assert lines[-1].split()[-1] == "19.75"


@pytest.mark.parametrize(("width", "packets"), [(67, 10**6), (80, 10**9), (150, 10**12)])
def test_names_are_cut_to_fit_and_numbers_are_not(width: int, packets: int) -> None:
    rows = [row(f"web{number}.example.org" + "x" * 60, packets + number, float(number)) for number in range(20)]
    lines = table(rows, width)
    assert all(len(line) == len(lines[0]) <= width for line in lines)
    assert len({line.split()[0] for line in lines}) == 22
    assert all(str(packets + number) in "\n".join(lines) for number in range(20))


def test_names_that_would_be_the_same_are_not_cut() -> None:
    same = "a" * 70
    lines = table([row(f"{same}{number}", 1) for number in range(3)], 67)
    assert [line.split()[0] for line in lines[1:4]] == [f"{same}{number}" for number in range(3)]


@pytest.mark.parametrize(("rows", "shown"), [(4, 4), (5, 5), (6, 4), (100, 4)])
def test_the_last_rows_that_do_not_fit_are_counted(rows: int, shown: int) -> None:
    lines = table([row(f"web{number}", 1, float(-number)) for number in range(rows)], 67, height=7)
    assert len(lines) <= 7
    assert [line.split()[0] for line in lines[1 : shown + 1]] == [f"web{number}" for number in range(shown)]
    assert lines[shown + 1].split()[:2] == ["TOTAL", str(rows)]
    assert lines[shown + 2 :] == ([f"and {rows - shown} more, which TOTAL contains"] if shown < rows else [])


@pytest.mark.parametrize(
    ("facts", "mode"),
    [
        ({"mode": "native", "moved": False}, "native"),
        ({"mode": None, "moved": False}, "detached"),
        ({"mode": None, "moved": True}, "moved"),  # it counts on
        ({"mode": None}, "detached"),
    ],
)
def test_the_mode_of_a_counter(facts: t.Dict[str, t.Any], mode: str) -> None:
    assert table([row("web1", 7, **facts)], 67)[1].split() == ["web1", "eth0", mode, "7", "448", "-"]


def test_what_is_below_the_table() -> None:
    rows = [row("web1", 1, inexact_because="GRO\nmerges"), row("web2", 1, inexact_because=None)]
    lines = report(rows, {"web3": {"msg": "no \x1b[2J\nroute"}, "web4": {}}, 67)
    assert lines[:4] == table(rows, 67)
    assert lines[4:] == [
        "web1 eth0 is not exact: GRO merges",
        "web3                 not read: no \\x1b[2J route",
        "web4                 not read: it did not say why",
    ]
    assert len(report(rows, {"web3": {}}, 67, height=6)) == 6

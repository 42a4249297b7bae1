# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No packet whose address is in the old and in the new list gets through while one replaces the other.

`make bench SECTIONS=leaks MODE=full` does the same with 40 million packets.
"""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from host import Host
from leaks import Leaks, Replace, by_bpf_map, leaks, wipe_then_add
from wire import Wire

Compiled = t.Callable[..., str]
PACKETS, ENTRIES = 1_000_000, 5000
BLOCK4 = {"name": "blocklist", "map": "block4"}


@pytest.fixture
def leaked(host: Host, compiled: Compiled, tmp_path: pathlib.Path) -> t.Callable[[Replace], Leaks]:
    """Of a million packets."""
    wire = Wire(host, tmp_path, pathlib.Path(compiled("inject")).read_bytes())

    def measure(replace: Replace) -> Leaks:
        found = leaks(host, wire, tmp_path, replace, PACKETS, ENTRIES)
        assert found.sent.delivered >= PACKETS / 2 and found.replaced >= 1
        return found

    return measure


@pytest.mark.parametrize("how", ["at_once", "in_place"])
def test_nothing_gets_through(host: Host, compiled: Compiled, leaked: t.Callable[[Replace], Leaks], how: str) -> None:
    host.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0"])
    found = leaked(by_bpf_map(host, **BLOCK4, replace=how))
    assert found.through == 0
    (verdicts,) = host.ok("bpf_map_info", name="blocklist", map="verdicts")["maps"]
    counts = {entry["key"]: entry["value"]["packets"] for entry in verdicts["entries"]}
    assert counts[2] == found.sent.delivered, counts  # each was seen, and blocked


def test_the_naive_way_lets_packets_through(
    host: Host, compiled: Compiled, leaked: t.Callable[[Replace], Leaks]
) -> None:
    host.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0"])
    assert leaked(wipe_then_add(host, **BLOCK4)).through > 0


def test_nothing_gets_through_a_slot(host: Host, compiled: Compiled, leaked: t.Callable[[Replace], Leaks]) -> None:
    host.ok("xdp_program", object=compiled("slots"), interfaces=["eth0"])
    assert leaked(by_bpf_map(host, name="slots", map="lists", slot=0, replace="at_once")).through == 0

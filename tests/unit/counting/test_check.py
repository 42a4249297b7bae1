# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults that xdp_counter_check finds by comparing counted and arrived packets."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Attachment
from ansible_collections.ebpf.fleet.plugins.module_utils.counting.check import growth, verdict
from ansible_collections.ebpf.fleet.plugins.module_utils.counting.counters import Count, Reading
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

PLACE = Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0")


def wrong(
    counted: t.Optional[int], around: t.Optional[int], arrived: t.Optional[int], mode: t.Optional[str] = "native"
) -> t.List[str]:
    seen = Seen(PLACE, 2, 1500, Attachment("link", 3, 41, 2, mode), None, None, {}, {}, (), None, ())
    return list(verdict("packet_count", seen, counted, around, arrived))


@pytest.mark.parametrize(
    ("counted", "around", "arrived"),
    [
        (0, 0, 0),  # idle
        (5, 5, 5),
        (5, 9, 7),
        (90, 95, 2),  # the stack merges packets
        (0, 3, 3),  # all of them at an edge of the time window
        (0, 3, 0),
    ],
)
def test_nothing_wrong(counted: int, around: int, arrived: int) -> None:
    assert wrong(counted, around, arrived) == []


@pytest.mark.parametrize(
    ("counted", "around", "arrived", "mode", "sentence"),
    [
        (None, None, None, None, "there is no interface eth0 on this host"),
        (5, 5, None, "native", "there is no interface eth0 on this host"),
        (5, 5, 5, None, "packet_count is not attached to eth0"),
        (None, None, 5, None, "packet_count is not attached to eth0"),
        (None, None, 5, "native", "packet_count has no counters on eth0"),
        (None, None, 0, "generic", "packet_count has no counters on eth0"),
        (0, 0, 5, "native", "5 packets arrived on eth0, but packet_count counted none"),
        (5, 5, 0, "native", "packet_count counted 5 packets on eth0, but none of them reached the network stack"),
    ],
)
def test_each_fault_has_its_sentence(
    counted: t.Optional[int], around: t.Optional[int], arrived: t.Optional[int], mode: t.Optional[str], sentence: str
) -> None:
    assert wrong(counted, around, arrived, mode) == [sentence]


def test_what_runs_elsewhere_has_two_possible_causes() -> None:
    ours = Attachment("link", 3, 41, 7, None, elsewhere=True)
    seen = Seen(PLACE, 2, 1500, ours, None, None, {}, {}, (), None, ())
    assert list(verdict("packet_count", seen, 5, 5, 0)) == [
        "packet_count of eth0 is attached to interface 7 of a different network namespace: the interface was moved"
        " there, or the pins are of a container that shares this bpffs"
    ]


def test_growth() -> None:
    before, after = Reading(1.0, (Count(0, 3, 0),)), Reading(2.0, (Count(0, 4, 0), Count(1, 6, 0)))
    assert growth(before, after) == 7
    assert growth(before, before) == 0
    assert growth(None, after) is None
    assert growth(before, None) is None

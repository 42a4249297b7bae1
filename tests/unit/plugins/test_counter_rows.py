# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ebpf.fleet.plugins.filter.counter_rows import counter_rows


def facts(**interfaces: int) -> t.Dict[str, t.Any]:
    each: t.Dict[str, t.Any] = {
        name: {
            "packets": packets,
            "bytes": packets * 64,
            "per_cpu": [],
            "mode": "native",
            "exact": True,
            "inexact_because": None,
            "program_id": 7,
            "program_name": "packet_count",
            "variables_digest": None,
            "tag": "644ee9a75611c6d0",
            "loaded_at": "2026-02-12T16:40:02Z",
            "attached": True,
            "moved": False,
        }
        for name, packets in interfaces.items()
    }
    return {"xdp_counter": {"program": "packet_count", "collected_at": "now", "boot_id": "b", "interfaces": each}}


HOSTVARS = {
    "web2": {"ansible_facts": facts(eth0=5)},
    "web1": {"ansible_facts": facts(eth1=1, eth0=9)},
    "unread": {"ansible_facts": {}},
    "unknown": {},
}


def test_rows_are_flat_and_sorted() -> None:
    rows = counter_rows(HOSTVARS)
    assert [(row["host"], row["interface"], row["packets"]) for row in rows] == [
        ("web1", "eth0", 9),
        ("web1", "eth1", 1),
        ("web2", "eth0", 5),
    ]
    assert all("per_cpu" not in row and row["packets_per_second"] is None for row in rows)


def test_queries() -> None:
    assert counter_rows(HOSTVARS, "sum([].packets)") == 15
    assert counter_rows(HOSTVARS, "[?host=='web1'].interface") == ["eth0", "eth1"]
    with pytest.raises(AnsibleFilterError, match="failed"):
        counter_rows(HOSTVARS, "[?")


def test_bad_input() -> None:
    every: t.List[t.Any] = [[{}], "text", {"host": 3}]
    for bad in every:
        with pytest.raises(AnsibleFilterError, match="counter_rows takes hostvars"):
            counter_rows(bad)

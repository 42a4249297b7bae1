# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.plugin_utils.declared import beside, reachable_by_default

COUNTER: t.Dict[str, t.Any] = {"name": "counter", "interfaces": ["eth0", "eth1"]}


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        ({"interfaces": ["eth1", "eth2"]}, ["eth1"]),
        ({"interfaces": ["eth2"]}, []),
        ({"interfaces": ["eth0"], "state": "absent"}, []),
        ({}, ["eth0"]),  # it is on the interface of the default route
        ({"interfaces": []}, ["eth0"]),
        ({"interfaces": ["eth0"], "name": "counter"}, []),
    ],
)
def test_interfaces_with_others_of_the_list(other: t.Dict[str, t.Any], shared: t.List[str]) -> None:
    program = {**COUNTER, "among": [COUNTER, {"name": "filter", **other}]}
    assert beside(program, lambda: "eth0") == shared


def test_the_default_route_is_not_asked_for_without_need() -> None:
    def unasked() -> str:
        raise AssertionError

    assert beside({**COUNTER, "among": [COUNTER]}, unasked) == []
    assert beside(COUNTER, unasked) == []
    assert beside({**COUNTER, "among": [COUNTER, {**COUNTER, "name": "filter"}]}, unasked) == ["eth0", "eth1"]


@pytest.mark.parametrize(
    ("pulled", "rollback_after", "asked"),
    [(False, None, []), (True, None, ["gateway"]), (True, 30, ["gateway"]), (True, 0, []), (True, "0", [])],
)
def test_who_pulls_asks_the_gateway(pulled: bool, rollback_after: t.Any, asked: t.List[str]) -> None:
    assert reachable_by_default(pulled, rollback_after) == asked

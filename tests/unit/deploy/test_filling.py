# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries that are kept for a reboot."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.declared import Filling
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.filling import kept
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Declared
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import typed
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape

KEY = b"\1\0\0\0"


def filling(value: bytes, mask: bytes, cpus: int) -> Filling:
    how = typed(None, MapShape("hash", 4, 2, 8, 0), 0, 0)
    return Filling("zones", Declared({KEY: value * cpus}, {KEY: mask * cpus}), cpus, how)


@pytest.mark.parametrize("cpus", [1, 4])
def test_two_tasks_may_each_declare_a_part_of_a_value(cpus: int) -> None:
    """Then what is kept has both parts, and neither task finds something to do again and again."""
    rate, burst = filling(b"\5\0", b"\xff\0", cpus), filling(b"\0\7", b"\0\xff", cpus)
    before: t.Dict[bytes, bytes] = {}
    for each in (rate, burst):
        before = kept(each, before)
    assert before == {KEY: b"\5\7"}
    assert kept(rate, before) == kept(burst, before) == before


def test_of_an_exclusive_list_all_is_kept_and_nothing_else() -> None:
    declared = Declared({KEY: b"\5\0", b"\2\0\0\0": b"\6\0"}, exclusive=True)
    listed = filling(b"", b"", 1)._replace(declared=declared)
    assert kept(listed, {b"\3\0\0\0": b"\7\0", KEY: b"\4\0"}) == declared.values
    within = listed._replace(declared=declared._replace(within=(b"\1\0\0\0", b"\xff\0\0\0")))
    assert kept(within, {b"\3\0\0\0": b"\7\0", b"\1\1\0\0": b"\7\0"}) == {**declared.values, b"\3\0\0\0": b"\7\0"}

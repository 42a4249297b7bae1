# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_map_info makes of values."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import typed
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.filling.reading import read_maps, value_reader
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape


@pytest.mark.parametrize(
    ("kind", "cpus", "value", "read"),
    [
        ("percpu_hash", 2, b"\1" + bytes(7) + b"\2" + bytes(7), ["0x0100000000000000", "0x0200000000000000"]),
        ("percpu_hash", 1, b"\1" + bytes(7), ["0x0100000000000000"]),  # as on all other hosts
        ("hash", 1, b"\1" + bytes(7), "0x0100000000000000"),
    ],
)
def test_each_cpu_has_its_place_in_a_list(kind: str, cpus: int, value: bytes, read: t.Any) -> None:
    shape = MapShape(kind, 4, 8, 1, 0)
    found: t.Any = types.SimpleNamespace(info=types.SimpleNamespace(shape=shape))
    elements: t.Any = types.SimpleNamespace(cpus=cpus, value_size=8 * cpus)
    assert value_reader(found, typed(None, shape, 0, 0), elements, "each")(value) == read


def test_a_limit_has_a_bound() -> None:
    with pytest.raises(FleetError, match="limit is -1: give 0 or more"):
        read_maps(t.cast(t.Any, None), {"limit": -1})

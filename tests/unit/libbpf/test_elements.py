# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches, with a kernel that answers as it is told. tests/integration has real maps."""

from __future__ import annotations

import errno
import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.elements import Elements
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError

HASH = MapShape("hash", 4, 1, 100, 0)
PAIRS = [(bytes([number, 0, 0, 0]), b"\1") for number in range(10)]


def elements(update: t.Callable[[t.Any], None], shape: MapShape = HASH) -> Elements:
    """`update` gets the count of each batch, by reference."""

    def batch(_fd: int, _keys: t.Any, _values: t.Any, count: t.Any, _options: t.Any) -> None:
        update(count._obj)

    calls = types.SimpleNamespace(bpf_map_update_batch=batch)
    return Elements(t.cast(t.Any, types.SimpleNamespace(declare=lambda _functions: calls)), 3, shape)


@pytest.mark.parametrize(("says", "done"), [(10, 0), (4, 4)])
def test_a_batch_that_is_refused_as_a_whole_has_written_nothing(says: int, done: int) -> None:
    """Older kernels leave the count as it was if they refuse a call before its first element."""

    def refuse(count: t.Any) -> None:
        count.value = says
        raise BpfError(errno.EPERM, "bpf_map_update_batch")

    with pytest.raises(BpfError) as caught:
        elements(refuse).update(PAIRS)
    assert caught.value.done == done


def test_no_memory_for_a_whole_batch_skips_none_of_it() -> None:
    written, refused = [], [True, True]

    def write(count: t.Any) -> None:
        if refused and refused.pop():
            raise BpfError(errno.ENOMEM, "bpf_map_update_batch")
        written.append(count.value)

    elements(write).update(PAIRS)
    assert written == [10]


def test_a_batch_of_large_values_is_not_gigabytes() -> None:
    written: t.List[int] = []
    large = HASH._replace(value_size=1 << 24)
    elements(lambda count: written.append(count.value), large).update([(key, b"\1") for key, _value in PAIRS[:3]])
    assert written == [1, 1, 1]

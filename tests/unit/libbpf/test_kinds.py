# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel and libbpf make of the maps in an object."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape, as_made

NO_COMMON_LRU = 1 << 1


@pytest.mark.parametrize(
    ("kind", "entries", "flags", "made"),
    [
        ("hash", 1001, 0, (1001, 0)),
        ("lru_hash", 1001, 0, (1001, 0)),
        ("lru_hash", 1001, NO_COMMON_LRU, (1002, NO_COMMON_LRU)),
        ("lru_percpu_hash", 1002, NO_COMMON_LRU, (1002, NO_COMMON_LRU)),
        ("lru_hash", 2**32 - 1, NO_COMMON_LRU, (2**32 - 4, NO_COMMON_LRU)),
        ("devmap", 8, 0, (8, 0x80)),
        ("devmap_hash", 8, 0, (8, 0x80)),
        ("ringbuf", 1, 0, (4096, 0)),
        ("ringbuf", 4096, 0, (4096, 0)),
        ("ringbuf", 5000, 0, (8192, 0)),
        ("user_ringbuf", 3 * 4096, 0, (16384, 0)),
        ("ringbuf", 0, 0, (0, 0)),
        ("perf_event_array", 0, 0, (6, 0)),
        ("perf_event_array", 2, 0, (2, 0)),
        ("array", 4, 1 << 3 | 1 << 10, (4, 1 << 10)),
        ("cpumap", 64, 0, (64, 0)),
    ],
)
def test_what_is_made_of_a_shape(kind: str, entries: int, flags: int, made: t.Tuple[int, int]) -> None:
    found = as_made(MapShape(kind, 4, 4, entries, flags), cpus=6, page=4096)
    assert (found.max_entries, found.flags) == made
    assert as_made(found, cpus=6, page=4096) == found


def test_pages_of_64_kib() -> None:
    assert as_made(MapShape("ringbuf", 0, 0, 4096, 0), cpus=1, page=65536).max_entries == 65536

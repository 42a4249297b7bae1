# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of tests/integration/bpf/maps.bpf.c, and what fills them from outside, as bpftool takes it.

The checks on other kernels use this file too: it imports nothing.
"""

from __future__ import annotations

import typing as t

SECTIONS = (".bss", ".data", ".data.named")

# Their values are of struct value, whose two members change places with MOVED.
NAMED = (
    *("array", "percpu_array", "hash", "percpu_hash", "lru_hash", "lru_of_cpus", "lru_percpu_hash", "lpm_trie"),
    *("array_of_maps", "hash_of_maps", "inner_array", "inner_hash"),
)
UNNAMED = ("calls", "calls_from_outside", "devmap", "devmap_hash", "cpumap", "xskmap", "queue", "stack")
PASSING = ("ringbuf", "perf_event_array")
NEWER = {1: ("bloom_filter",), 2: ("bloom_filter", "arena")}  # by the macro NEWER

_KEY = "key 1 0 0 0"
_VALUE = "value 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0"
_PEEKED = ("queue", "stack")  # bpftool cannot dump them


def updates(ifindex: int, program: str) -> t.Iterator[t.Tuple[str, t.List[str]]]:
    """Names of maps, and the words after `bpftool map update pinned PIN` that fill them. `program`: a pin."""
    for name in NAMED:
        if not name.endswith("of_maps"):
            yield name, f"{_KEY if name != 'lpm_trie' else 'key 24 0 0 0 192 0 2 0'} {_VALUE}".split()
    for name in _PEEKED:
        yield name, _VALUE.split()
    yield "cpumap", f"{_KEY} value 192 0 0 0".split()
    for name in ("devmap", "devmap_hash"):
        yield name, [*_KEY.split(), "value", *map(str, ifindex.to_bytes(4, "little"))]
    yield "calls_from_outside", [*_KEY.split(), "value", "pinned", program]


def filled() -> t.Iterator[t.Tuple[str, str]]:
    """Names of maps that have something in them then, and the command of `bpftool map` that shows it."""
    for name in (*NAMED, *_PEEKED, "cpumap", "devmap", "devmap_hash", "calls_from_outside"):
        yield name, "peek" if name in _PEEKED else "dump"


def refused(message: str) -> t.Set[str]:
    """The names of the maps that an error of xdp_program refuses to keep."""
    return {part.partition(" has changed its ")[0] for part in message.split("the map ")[1:]}

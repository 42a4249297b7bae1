# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Elements of maps, as bytes. bpf.h"""

from __future__ import annotations

import ctypes
import typing as t

from .library import INT, POINTER, Functions, Libbpf

_FUNCTIONS: Functions = {
    "libbpf_num_possible_cpus": (INT, (), True),
    "bpf_map_lookup_elem": (INT, (INT, POINTER, POINTER), True),
    "bpf_map_update_elem": (INT, (INT, POINTER, POINTER, ctypes.c_uint64), True),
}


def possible_cpus(lib: Libbpf) -> int:
    """The number of values that a per-CPU map has for each key."""
    return t.cast(int, lib.declare(_FUNCTIONS).libbpf_num_possible_cpus())


def lookup(lib: Libbpf, map_fd: int, key: bytes, value_size: int) -> bytes:
    """The value of a key; `value_size` is in bytes, for a per-CPU map that of all CPUs together."""
    value = ctypes.create_string_buffer(value_size)
    lib.declare(_FUNCTIONS).bpf_map_lookup_elem(map_fd, ctypes.create_string_buffer(key, len(key)), value)
    return value.raw


def update(lib: Libbpf, map_fd: int, key: bytes, value: bytes) -> None:
    lib.declare(_FUNCTIONS).bpf_map_update_elem(
        map_fd,
        ctypes.create_string_buffer(key, len(key)),
        ctypes.create_string_buffer(value, len(value)),
        0,
    )

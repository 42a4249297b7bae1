# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Elements of maps, as bytes. bpf.h"""

from __future__ import annotations

import ctypes
import errno
import mmap
import sys
import typing as t

from .library import INT, POINTER, BpfError, Functions, Libbpf

_FUNCTIONS: Functions = {
    "libbpf_num_possible_cpus": (INT, (), True),
    "bpf_map_lookup_elem": (INT, (INT, POINTER, POINTER), True),
    "bpf_map_update_elem": (INT, (INT, POINTER, POINTER, ctypes.c_uint64), True),
    "bpf_map_get_next_key": (INT, (INT, POINTER, POINTER), True),
}

_NUMBERS: t.Mapping[int, t.Any] = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


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


def keys(lib: Libbpf, map_fd: int, key_size: int) -> t.Iterator[bytes]:
    """The keys, one after the other; of an array all indexes."""
    following = lib.declare(_FUNCTIONS).bpf_map_get_next_key
    key, after = None, ctypes.create_string_buffer(key_size)
    while True:
        try:
            following(map_fd, key, after)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield after.raw
        key = ctypes.create_string_buffer(after.raw, key_size)


def store(map_fd: int, size: int, changes: t.Mapping[int, bytes]) -> None:
    """Write into global data of `size` bytes while programs use it: by offset, and nothing beside it.

    A number at its natural place is written by a single store. An update of the map would write the whole section, and
    so undo what a program counts in it meanwhile.
    """
    length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    with mmap.mmap(map_fd, length) as memory:
        for offset, value in changes.items():
            number = _NUMBERS.get(len(value))
            if number and offset % len(value) == 0:
                number.from_buffer(memory, offset).value = int.from_bytes(value, sys.byteorder)
            else:
                memory[offset : offset + len(value)] = value

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of maps: what is in their slots, and new maps for them. bpf.h."""

from __future__ import annotations

import ctypes
import errno
import sys

from . import maps
from .info import MapInfo
from .kinds import MAP_TYPES
from .library import INT, POINTER, TEXT, U32, BpfError, Fd, Functions, Libbpf
from .loaded_btf import open_btf

_FUNCTIONS: Functions = {
    "bpf_map_create": (INT, (INT, TEXT, U32, U32, U32, POINTER), True),
    "bpf_map_delete_elem": (INT, (INT, POINTER), True),
}


class CreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    ]


def make_like(lib: Libbpf, info: MapInfo) -> Fd:
    """A new, empty map with that name, shape and types. It ends with its last file descriptor, pin or slot."""
    shape = info.shape
    options = CreateOptions(map_flags=shape.flags, map_extra=shape.extra)
    options.sz = ctypes.sizeof(options)

    def make() -> Fd:
        number = lib.declare(_FUNCTIONS).bpf_map_create(
            MAP_TYPES.index(shape.type),
            info.name.encode(),
            shape.key_size,
            shape.value_size,
            shape.max_entries,
            ctypes.byref(options),
        )
        return Fd(number)

    if not info.btf_id:
        return make()
    with open_btf(lib, info.btf_id) as btf:
        options.btf_fd, options.btf_key_type_id, options.btf_value_type_id = btf, info.key_type, info.value_type
        return make()


def id_in(lib: Libbpf, map_fd: int, key: bytes) -> int:
    """The id of the map that is in a slot; 0 if there is none."""
    try:
        return int.from_bytes(maps.lookup(lib, map_fd, key, 4), sys.byteorder)
    except BpfError as error:
        if error.errno != errno.ENOENT:
            raise
        return 0


def put(lib: Libbpf, map_fd: int, key: bytes, inner_fd: int) -> None:
    """Put a map into a slot. When this returns, no program looks into the one before any more (since Linux 4.20)."""
    maps.update(lib, map_fd, key, inner_fd.to_bytes(4, sys.byteorder))


def clear(lib: Libbpf, map_fd: int, key: bytes) -> None:
    lib.declare(_FUNCTIONS).bpf_map_delete_elem(map_fd, ctypes.create_string_buffer(key, len(key)))

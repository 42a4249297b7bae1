# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Type information (BTF) that is loaded in the kernel, by id. bpf.h, struct bpf_btf_info."""

from __future__ import annotations

import ctypes

from .library import INT, U32, Fd, Functions, Libbpf

_FUNCTIONS: Functions = {"bpf_btf_get_fd_by_id": (INT, (U32,), True)}


class _BtfInfo(ctypes.Structure):
    _fields_ = [("btf", ctypes.c_uint64), ("btf_size", ctypes.c_uint32), ("id", ctypes.c_uint32)]


def open_btf(lib: Libbpf, number: int) -> Fd:
    return Fd(lib.declare(_FUNCTIONS).bpf_btf_get_fd_by_id(number))


def btf_id(lib: Libbpf, fd: int) -> int:
    info = _BtfInfo()
    lib.read_info(fd, info)
    return int(info.id)


def loaded_btf(lib: Libbpf, number: int) -> bytes:
    """As it was loaded. A program or a map refers to its own, so that exists as long as the program or map is open."""
    with open_btf(lib, number) as fd:
        sizes = _BtfInfo()
        lib.read_info(fd, sizes)
        data = ctypes.create_string_buffer(sizes.btf_size)
        lib.read_info(fd, _BtfInfo(btf=ctypes.addressof(data), btf_size=sizes.btf_size))
    return data.raw

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attaching XDP programs, by link and by netlink. bpf.h."""

from __future__ import annotations

import ctypes

from .library import INT, POINTER, U32, Fd, Functions, Libbpf

BPF_XDP = 37
BPF_F_REPLACE = 1 << 2

# if_link.h: XDP_FLAGS_*_MODE, XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_FLAGS_REPLACE
XDP_FLAGS = {"generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}
XDP_FLAGS_UPDATE_IF_NOEXIST = 1 << 0
XDP_FLAGS_REPLACE = 1 << 4

_FUNCTIONS: Functions = {
    "bpf_link_create": (INT, (INT, INT, INT, POINTER), True),
    "bpf_link_update": (INT, (INT, INT, POINTER), True),
    "bpf_link_detach": (INT, (INT,), True),
    "bpf_xdp_attach": (INT, (INT, INT, U32, POINTER), True),
}


class _LinkCreateOpts(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("pad", ctypes.c_uint32)]


class _LinkUpdateOpts(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
    ]


class _XdpAttachOpts(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("old_prog_fd", ctypes.c_int), ("pad", ctypes.c_int)]


def create(lib: Libbpf, program_fd: int, ifindex: int, mode: str) -> Fd:
    options = _LinkCreateOpts(flags=XDP_FLAGS[mode])
    options.sz = ctypes.sizeof(options)
    return Fd(lib.declare(_FUNCTIONS).bpf_link_create(program_fd, ifindex, BPF_XDP, ctypes.byref(options)))


def update(lib: Libbpf, link_fd: int, program_fd: int, old_program_fd: int) -> None:
    """Swap the program in a link, only if the old one is still in it."""
    options = _LinkUpdateOpts(flags=BPF_F_REPLACE, old_prog_fd=old_program_fd)
    options.sz = ctypes.sizeof(options)
    lib.declare(_FUNCTIONS).bpf_link_update(link_fd, program_fd, ctypes.byref(options))


def detach(lib: Libbpf, link_fd: int) -> None:
    lib.declare(_FUNCTIONS).bpf_link_detach(link_fd)


def netlink_attach(lib: Libbpf, ifindex: int, program_fd: int, mode: str) -> None:
    """Attach by netlink, only if no program is attached."""
    flags = XDP_FLAGS[mode] | XDP_FLAGS_UPDATE_IF_NOEXIST
    lib.declare(_FUNCTIONS).bpf_xdp_attach(ifindex, program_fd, flags, None)


def netlink_replace(lib: Libbpf, ifindex: int, program_fd: int, old_program_fd: int, mode: str) -> None:
    """Attach (-1: detach) by netlink, only if the old program (-1: none) is still attached."""
    options = _XdpAttachOpts(old_prog_fd=old_program_fd)
    options.sz = ctypes.sizeof(options)
    lib.declare(_FUNCTIONS).bpf_xdp_attach(
        ifindex, program_fd, XDP_FLAGS[mode] | XDP_FLAGS_REPLACE, ctypes.byref(options)
    )

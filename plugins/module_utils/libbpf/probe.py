# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load raw instructions, and run programs without an interface: BPF_PROG_TEST_RUN. bpf.h."""

from __future__ import annotations

import ctypes
import typing as t

from .extensions import BPF_F_XDP_HAS_FRAGS, LoadOptions, load_instructions
from .library import INT, POINTER, Fd, Functions, Libbpf
from .links import BPF_XDP

BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1

_FUNCTIONS: Functions = {
    "bpf_prog_test_run_opts": (INT, (INT, POINTER), True),
}


class RunOptions(ctypes.Structure):
    """struct bpf_test_run_opts; `duration` is in ns a run."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


def ask(lib: Libbpf, instructions: bytes, frags: bool = False) -> Fd:
    """Load raw XDP instructions, to find out what the kernel supports."""
    options = LoadOptions(expected_attach_type=BPF_XDP, prog_flags=BPF_F_XDP_HAS_FRAGS if frags else 0)
    return load_instructions(lib, "xdp", "ebpf_fleet_ask", instructions, options)


def test_run(lib: Libbpf, program_fd: int, packet: bytes, repeat: int = 1, flags: int = 0, batch_size: int = 0) -> int:
    """Run a program on a packet; returns the XDP action. BPF_PROG_TEST_RUN.

    A kernel without live frames may ignore their flag (5.10 does), but rejects a batch_size above 0.
    """
    options = RunOptions(data_in=packet, data_size_in=len(packet), repeat=repeat, flags=flags, batch_size=batch_size)
    run(lib, program_fd, options)
    return t.cast(int, options.retval)


def run(lib: Libbpf, program_fd: int, options: RunOptions) -> None:
    """What it found is in the options then."""
    options.sz = ctypes.sizeof(options)
    lib.declare(_FUNCTIONS).bpf_prog_test_run_opts(program_fd, ctypes.byref(options))

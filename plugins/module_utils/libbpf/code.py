# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of programs in the kernel, with what is needed to show it. bpf.h, struct bpf_prog_info."""

from __future__ import annotations

import ctypes
import struct
import typing as t

from .info import ProgInfo
from .library import Libbpf
from .loaded_btf import loaded_btf


class LineInfo(t.NamedTuple):
    """The source line that starts at an instruction: struct bpf_line_info. `text` is an offset into the BTF strings."""

    instruction: int
    text: int


class FunctionInfo(t.NamedTuple):
    """The function that starts at an instruction: struct bpf_func_info. `type_id` is its BTF type."""

    instruction: int
    type_id: int


class ProgramCode(t.NamedTuple):
    """A program's code, as far as the kernel shows it; a field that it withholds is empty.

    xlated has 8 bytes per instruction. jited is the native code of all functions, one after the other;
    `jited_lengths` are their lengths, `jited_addresses` their addresses in the kernel. jited_lines has the
    native address of each of `lines`. btf is the program's own type information, as it was loaded.
    """

    xlated: bytes
    jited: bytes
    jited_addresses: t.Tuple[int, ...]
    jited_lengths: t.Tuple[int, ...]
    functions: t.Tuple[FunctionInfo, ...]
    lines: t.Tuple[LineInfo, ...]
    jited_lines: t.Tuple[int, ...]
    btf: bytes


def program_code(lib: Libbpf, fd: int) -> ProgramCode:
    """The translated and native code of a program, with its functions, lines and BTF."""
    sizes = ProgInfo()
    lib.read_info(fd, sizes)
    info = ProgInfo(func_info_rec_size=8, line_info_rec_size=16, jited_line_info_rec_size=8)
    room = {}
    for pointer, count, unit in (
        ("xlated_prog_insns", "xlated_prog_len", 1),
        ("jited_prog_insns", "jited_prog_len", 1),
        ("jited_ksyms", "nr_jited_ksyms", 8),
        ("jited_func_lens", "nr_jited_func_lens", 4),
        ("func_info", "nr_func_info", 8),
        ("line_info", "nr_line_info", 16),
        ("jited_line_info", "nr_jited_line_info", 8),
    ):
        number = getattr(sizes, count)
        room[pointer] = ctypes.create_string_buffer(number * unit)
        setattr(info, count, number)
        setattr(info, pointer, ctypes.addressof(room[pointer]) if number else 0)
    lib.read_info(fd, info)
    # The kernel sets a pointer to 0 where it withholds the data.
    found = {pointer: each.raw if getattr(info, pointer) else b"" for pointer, each in room.items()}
    return ProgramCode(
        xlated=found["xlated_prog_insns"],
        jited=found["jited_prog_insns"],
        jited_addresses=tuple(number for (number,) in struct.iter_unpack("=Q", found["jited_ksyms"])),
        jited_lengths=tuple(number for (number,) in struct.iter_unpack("=I", found["jited_func_lens"])),
        functions=tuple(FunctionInfo(*each) for each in struct.iter_unpack("=II", found["func_info"])),
        lines=tuple(LineInfo(*each) for each in struct.iter_unpack("=I4xI4x", found["line_info"])),
        jited_lines=tuple(number for (number,) in struct.iter_unpack("=Q", found["jited_line_info"])),
        btf=loaded_btf(lib, info.btf_id) if info.btf_id else b"",
    )

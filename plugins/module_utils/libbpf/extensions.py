# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs made of raw instructions, those with type information, and programs that take the place of their functions
(freplace, program type ext). bpf.h
"""

from __future__ import annotations

import ctypes
import typing as t

from . import maps
from .kinds import MAP_TYPES, PROGRAM_TYPES, RDONLY_PROG
from .library import INT, POINTER, TEXT, U32, BpfError, Fd, Functions, Libbpf
from .links import BPF_XDP
from .slots import CreateOptions

BPF_F_XDP_HAS_FRAGS = 1 << 5
_LOG_SIZE = 1 << 16
_FUNCTION_INFO_SIZE = 8  # struct bpf_func_info
_INSTRUCTION_SIZE = 8

_FUNCTIONS: Functions = {
    "bpf_btf_load": (INT, (POINTER, ctypes.c_size_t, POINTER), True),
    "bpf_map_create": (INT, (INT, TEXT, U32, U32, U32, POINTER), True),
    "bpf_map_freeze": (INT, (INT,), True),
    "bpf_prog_load": (INT, (INT, TEXT, TEXT, POINTER, ctypes.c_size_t, POINTER), True),
    "bpf_prog_bind_map": (INT, (INT, INT, POINTER), True),
    "bpf_link_create": (INT, (INT, INT, INT, POINTER), True),
}


class LoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


class _LinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts, for a link to a function of a program"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iter_info", ctypes.c_void_p),
        ("iter_info_len", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
    ]


def load_btf(lib: Libbpf, blob: bytes) -> Fd:
    buffer = ctypes.create_string_buffer(blob, len(blob))
    return Fd(lib.declare(_FUNCTIONS).bpf_btf_load(buffer, len(blob), None))


def load_program(lib: Libbpf, name: str, code: bytes, btf_fd: int, function_info: bytes, frags: bool = False) -> Fd:
    """An XDP program of several functions. Raises BpfError with the verifier's log."""
    options = LoadOptions(expected_attach_type=BPF_XDP, prog_flags=BPF_F_XDP_HAS_FRAGS if frags else 0)
    return _load(lib, "xdp", name, code, btf_fd, function_info, options)


def load_extension(
    lib: Libbpf, name: str, code: bytes, btf_fd: int, function_info: bytes, target: t.Tuple[int, int]
) -> Fd:
    """A program for the place of a function. `target`: the fd of the program, and the number of the function in its
    BTF.
    """
    options = LoadOptions(attach_prog_fd=target[0], attach_btf_id=target[1])
    return _load(lib, "ext", name, code, btf_fd, function_info, options)


def _load(
    lib: Libbpf, kind: str, name: str, code: bytes, btf_fd: int, function_info: bytes, options: LoadOptions
) -> Fd:
    log = ctypes.create_string_buffer(_LOG_SIZE)
    info = ctypes.create_string_buffer(function_info, len(function_info))
    options.prog_btf_fd = btf_fd
    options.func_info, options.func_info_rec_size = ctypes.addressof(info), _FUNCTION_INFO_SIZE
    options.func_info_cnt = len(function_info) // _FUNCTION_INFO_SIZE
    options.log_buf, options.log_size = ctypes.addressof(log), len(log)
    try:
        return load_instructions(lib, kind, name, code, options)
    except BpfError as error:
        error.log = log.value.decode(errors="replace").strip()
        raise


def load_instructions(lib: Libbpf, kind: str, name: str, code: bytes, options: LoadOptions) -> Fd:
    """A program of this type. Raises BpfError."""
    options.sz = ctypes.sizeof(options)
    text = ctypes.create_string_buffer(code, len(code))
    load = lib.declare(_FUNCTIONS).bpf_prog_load
    return Fd(
        load(
            PROGRAM_TYPES.index(kind),
            name.encode(),
            b"GPL",
            text,
            len(code) // _INSTRUCTION_SIZE,
            ctypes.byref(options),
        )
    )


def frozen_map(lib: Libbpf, name: str, content: bytes) -> Fd:
    """A map of constants: of one element, which nobody can change any more."""
    options = CreateOptions(map_flags=RDONLY_PROG)
    made = _create(lib, "array", name, len(content), options)
    try:
        maps.update(lib, made.number, bytes(4), content)
        lib.declare(_FUNCTIONS).bpf_map_freeze(made.number)
    except BpfError:
        made.__exit__()
        raise
    return made


def _create(lib: Libbpf, kind: str, name: str, value_size: int, options: CreateOptions) -> Fd:
    options.sz = ctypes.sizeof(options)
    create = lib.declare(_FUNCTIONS).bpf_map_create
    return Fd(create(MAP_TYPES.index(kind), name.encode(), 4, value_size, 1, ctypes.byref(options)))


def bind_map(lib: Libbpf, program_fd: int, map_fd: int) -> None:
    """The map exists as long as the program, which does not use it."""
    lib.declare(_FUNCTIONS).bpf_prog_bind_map(program_fd, map_fd, None)


def attach(lib: Libbpf, extension_fd: int, program_fd: int, function: int) -> Fd:
    """Put it in the place of a function, by its number in the BTF of the program. That lasts as long as the link."""
    options = _LinkOptions(target_btf_id=function)
    options.sz = ctypes.sizeof(options)
    return Fd(lib.declare(_FUNCTIONS).bpf_link_create(extension_fd, program_fd, 0, ctypes.byref(options)))


def wait_for_running_programs(lib: Libbpf) -> None:
    """Return when every program run that had begun before is over.

    An update of a map of maps does that, as the kernel promises since 4.20: maybe_wait_bpf_programs().
    """
    from .slots import put

    with _create(lib, "array", "ebpf_fleet_wait", 4, CreateOptions()) as inner:
        with _create(lib, "array_of_maps", "ebpf_fleet_wait", 4, CreateOptions(inner_map_fd=inner)) as outer:
            put(lib, outer, bytes(4), inner)

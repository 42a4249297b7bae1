# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libbpf.so.0, from 0.3 on, with the names and arguments of libbpf.so.1. Imported only where there is no libbpf.so.1.

What it lacks or calls otherwise is put in its place; src/libbpf.map of libbpf says which release has which function.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import typing as t

Check = t.Callable[[t.Any, t.Any, t.Any], t.Any]

_HANDLE = ctypes.c_void_p
_RENAMED = {
    "bpf_program__type": "bpf_program__get_type",
    "bpf_program__expected_attach_type": "bpf_program__get_expected_attach_type",
    "bpf_xdp_attach": "bpf_set_link_xdp_fd_opts",
    "btf__raw_data": "btf__get_raw_data",
}
_INSTRUCTION_SIZE = 8
_FUNCTION_INFO = ("func_info", "func_info_cnt", "func_info_rec_size")


class _LoadAttributes(ctypes.Structure):
    """struct bpf_load_program_attr, of libbpf before 1.0."""

    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("insns", ctypes.c_void_p),
        ("insns_cnt", ctypes.c_size_t),
        ("license", ctypes.c_char_p),
        ("attach_prog_fd", ctypes.c_uint32),  # or kern_version
        ("attach_btf_id", ctypes.c_uint32),  # or prog_ifindex
        ("prog_btf_fd", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    ]


class _MapAttributes(ctypes.Structure):
    """struct bpf_create_map_attr, of libbpf before 1.0."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("map_type", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
    ]


def adapt(c: t.Any, check: Check) -> None:
    """Raises AttributeError if the library is older than 0.3."""
    for name, old in _RENAMED.items():
        if not hasattr(c, name):
            function = getattr(c, old)
            function.__name__ = name
            setattr(c, name, function)
    if not hasattr(c, "bpf_btf_load"):
        _before_0_8(c, check)
    if not hasattr(c, "bpf_map_create"):
        _before_0_7(c, check)
    if not hasattr(c, "bpf_map__inner_map"):  # before 0.5: maps of maps are compared without what is in them
        c.bpf_map__inner_map = _without(None)
    if not hasattr(c, "bpf_object__next_program"):
        _before_0_6(c, check)
    c.bpf_object__close = _without_closing_0(c.bpf_object__close)
    _raise_memory_limit()


def _before_0_8(c: t.Any, check: Check) -> None:
    load = c.bpf_load_btf
    load.restype, load.errcheck = ctypes.c_int, check
    load.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_bool)
    c.bpf_btf_load = lambda data, size, _options: load(data, size, None, 0, False)


def _before_0_7(c: t.Any, check: Check) -> None:
    create = c.bpf_create_map_xattr
    create.restype, create.argtypes, create.errcheck = ctypes.c_int, (ctypes.POINTER(_MapAttributes),), check

    def bpf_map_create(kind: int, name: bytes, key: int, value: int, entries: int, options: t.Any) -> int:
        given = options._obj
        attributes = _MapAttributes(name, kind, given.map_flags, key, value, entries, btf_fd=given.btf_fd)
        attributes.inner_map_fd = given.inner_map_fd
        attributes.btf_key_type_id = given.btf_key_type_id
        attributes.btf_value_type_id = given.btf_value_type_id
        return t.cast(int, create(ctypes.byref(attributes)))

    c.bpf_map_create = bpf_map_create


def _before_0_6(c: t.Any, check: Check) -> None:
    for kind in ("program", "map"):
        setattr(c, f"bpf_object__next_{kind}", _with_swapped_arguments(getattr(c, f"bpf_{kind}__next")))
    c.bpf_map__map_extra = _without(0)  # only bloom filters have one
    size = c.bpf_program__size
    size.restype, size.argtypes = ctypes.c_size_t, (_HANDLE,)
    c.bpf_program__insn_cnt = lambda program: size(program) // _INSTRUCTION_SIZE
    load = c.bpf_load_program_xattr
    load.restype, load.argtypes = ctypes.c_int, (ctypes.POINTER(_LoadAttributes), ctypes.c_void_p, ctypes.c_size_t)
    load.errcheck = check

    def bpf_prog_load(kind: int, name: bytes, licence: bytes, code: t.Any, count: int, options: t.Any) -> int:
        given = options._obj
        attributes = _LoadAttributes(
            kind, given.expected_attach_type, name, ctypes.addressof(code), count, licence, prog_flags=given.prog_flags
        )
        if not given.func_info:  # of features, which only asks
            return t.cast(int, load(ctypes.byref(attributes), None, 0))
        for field in ("attach_prog_fd", "attach_btf_id", "prog_btf_fd", *_FUNCTION_INFO):
            setattr(attributes, field, getattr(given, field))
        return t.cast(int, load(ctypes.byref(attributes), given.log_buf, given.log_size))

    c.bpf_prog_load = bpf_prog_load
    c.libbpf_version_string = _version


def _without_closing_0(close: t.Any) -> t.Callable[[t.Any], None]:
    """0.3 takes 0 for the fd of what is in a map of maps that was not loaded, and closes it: the next file that is
    opened here would have that number, and be closed by the next object.
    """
    close.restype, close.argtypes = None, (_HANDLE,)

    def close_object(handle: t.Any) -> None:
        with contextlib.ExitStack() as after:
            with contextlib.suppress(OSError):  # no file has the number 0
                kept = os.dup(0)
                after.callback(os.close, kept)
                after.callback(os.dup2, kept, 0)
            close(handle)

    return close_object


def _with_swapped_arguments(following: t.Any) -> t.Callable[[t.Any, t.Any], t.Any]:
    following.restype, following.argtypes = _HANDLE, (_HANDLE, _HANDLE)
    return lambda owner, last: following(last, owner)


def _without(result: t.Any) -> t.Callable[[t.Any], t.Any]:
    return lambda _handle: result


def _version() -> bytes:
    """By the name of its file, libbpf.so.0.5.0."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        paths = {line.split(maxsplit=5)[-1].strip() for line in lines if "/libbpf.so.0" in line}
    return os.fsencode(os.path.basename(min(paths)).partition(".so.")[2]) if paths else b"0"


def _raise_memory_limit() -> None:
    """Kernels before 5.11 charge maps and programs to it. libbpf does this by itself only from 0.7 on."""
    with contextlib.suppress(ValueError, OSError):  # without CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

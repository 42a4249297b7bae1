# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's BPF objects, through libbpf and ctypes. Independent of Ansible.

Structures follow include/uapi/linux/bpf.h, calls follow libbpf's bpf.h and libbpf.h.
A failed call raises BpfError with the kernel's errno; everything that is opened here is a
context manager, which closes it.

This file contains what every call needs: the library, its errors, file descriptors, pins and ids. Each other
kind of call has its own file beside it, because a target compiles everything that a task imports, in every task.
"""

from __future__ import annotations

import ctypes
import errno
import os
import typing as t

SONAME, OLDER_SONAME = "libbpf.so.1", "libbpf.so.0"
_MOST_ERRNO = 4095  # a pointer that is an error is between -4095 and -1: MAX_ERRNO of linux/err.h


class LibbpfMissing(Exception):
    """libbpf cannot be loaded, or lacks a function; the text is the dynamic loader's."""


class BpfError(OSError):
    """A call into libbpf failed. `log` holds libbpf's and the verifier's own words, if any.

    `done`: of a call about many elements of a map, how many it had done before.
    """

    def __init__(self, number: int, action: str, log: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.action = action
        self.log = log
        self.done = 0

    def __str__(self) -> str:
        return f"{self.action}: {self.strerror}"


_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

HANDLE = ctypes.c_void_p
U32 = ctypes.c_uint32
INT = ctypes.c_int
TEXT = ctypes.c_char_p
POINTER = ctypes.c_void_p

# By name: result, arguments, checked. On failure, a checked int is negative and a checked pointer NULL.
Functions = t.Mapping[str, t.Tuple[t.Any, t.Tuple[t.Any, ...], bool]]

_FUNCTIONS: Functions = {
    "libbpf_version_string": (TEXT, (), False),
    "libbpf_set_print": (POINTER, (_PRINT,), False),
    "bpf_obj_pin": (INT, (INT, TEXT), True),
    "bpf_obj_get": (INT, (TEXT,), True),
    "bpf_obj_get_info_by_fd": (INT, (INT, POINTER, POINTER), True),
    "bpf_prog_get_fd_by_id": (INT, (U32,), True),
    "bpf_map_get_fd_by_id": (INT, (U32,), True),
    "bpf_link_get_fd_by_id": (INT, (U32,), True),
    "bpf_link_get_next_id": (INT, (U32, POINTER), True),
    "bpf_prog_get_next_id": (INT, (U32, POINTER), True),
}


def _check(result: t.Any, function: t.Any, arguments: t.Any) -> t.Any:
    # libbpf before 1.0 returns errors as pointers too, and sets errno only where the kernel refused a call, with -1.
    number = 0 if result is None else -ctypes.c_long(result).value
    if result is None or 0 < number <= _MOST_ERRNO:
        raise BpfError(
            number if number > 1 else ctypes.get_errno() or number or errno.EINVAL,
            _action(function.__name__, arguments),
        )
    return result


def _action(name: str, arguments: t.Tuple[t.Any, ...]) -> str:
    """A call in words: its name, and the path or the id that it was about."""
    about = [os.fsdecode(each) for each in arguments if isinstance(each, bytes)]
    if name.endswith("_by_id"):
        about.append(str(arguments[0]))
    return " ".join([name, *about])


class Fd:
    """A file descriptor that is closed at the end of its context."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *exception: t.Any) -> None:
        os.close(self.number)


def _load() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(SONAME, use_errno=True)
    except OSError as error:
        try:
            older = ctypes.CDLL(OLDER_SONAME, use_errno=True)
        except OSError as second:
            raise LibbpfMissing(f"{error}; {second}") from error
    from .older import adapt  # here: a target compiles what it imports

    try:
        adapt(older, _check)
    except AttributeError as error:
        raise LibbpfMissing(str(error)) from error
    return older


class Libbpf:
    """libbpf.so.1, or an older one. Raises LibbpfMissing if none is installed, or it lacks a function that we need."""

    def __init__(self) -> None:
        self.c = _load()
        self.declare(_FUNCTIONS)
        self.messages: t.List[str] = []
        self._libc = ctypes.CDLL(None)
        self._print = _PRINT(self._collect)  # kept alive: libbpf calls it until this process ends
        self.c.libbpf_set_print(self._print)

    def declare(self, functions: Functions) -> ctypes.CDLL:
        """Declare these functions to ctypes; returns the library."""
        try:
            for name, (result, arguments, checked) in functions.items():
                function = getattr(self.c, name)
                function.restype = result
                function.argtypes = arguments
                if checked:
                    function.errcheck = _check
        except AttributeError as error:
            raise LibbpfMissing(str(error)) from error
        return self.c

    def _collect(self, level: int, text: bytes, values: t.Any) -> int:
        if level == 0:  # LIBBPF_WARN
            line = ctypes.c_char_p()  # of any length: libbpf before 0.7 prints the verifier's log
            if self._libc.vasprintf(ctypes.byref(line), ctypes.c_char_p(text), ctypes.c_void_p(values)) >= 0:
                self.messages.append((line.value or b"").decode(errors="replace"))
                self._libc.free(line)
        return 0

    def warnings(self) -> str:
        """What libbpf has reported since `messages` was cleared, without its prefix."""
        return "".join(self.messages).replace("libbpf: ", "").strip()

    @property
    def version(self) -> str:
        return t.cast(bytes, self.c.libbpf_version_string()).decode(errors="replace").lstrip("v")

    # Pins and ids

    def pin(self, fd: int, path: str) -> None:
        self.c.bpf_obj_pin(fd, os.fsencode(path))

    def get(self, path: str) -> Fd:
        """Open a pin."""
        return Fd(self.c.bpf_obj_get(os.fsencode(path)))

    @staticmethod
    def kind(fd: int) -> str:
        """'link', 'prog' or 'map': what a file descriptor refers to."""
        return os.readlink(f"/proc/self/fd/{fd}").strip("[]").rsplit("bpf", 1)[-1].strip("-_]")

    def program_by_id(self, number: int) -> Fd:
        return Fd(self.c.bpf_prog_get_fd_by_id(number))

    def map_by_id(self, number: int) -> Fd:
        return Fd(self.c.bpf_map_get_fd_by_id(number))

    def link_by_id(self, number: int) -> Fd:
        return Fd(self.c.bpf_link_get_fd_by_id(number))

    def ids(self, kind: str) -> t.Iterator[int]:
        following = getattr(self.c, f"bpf_{kind}_get_next_id")
        number = ctypes.c_uint32(0)
        while True:
            try:
                following(number, ctypes.byref(number))
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield number.value

    def read_info(self, fd: int, info: ctypes.Structure) -> None:
        """Fill in `info`, the info structure of the kind that fd refers to: BPF_OBJ_GET_INFO_BY_FD."""
        size = ctypes.c_uint32(ctypes.sizeof(info))
        self.c.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))

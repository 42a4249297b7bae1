# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what is pinned at a path."""

from __future__ import annotations

import errno
import typing as t

from ..libbpf.library import BpfError, Libbpf

T = t.TypeVar("T")


def read_pin(lib: Libbpf, path: str, kind: str, read: t.Callable[[Libbpf, int], T]) -> t.Optional[T]:
    """What `read` makes of the pin's file descriptor; None where there is no pin, or one of another kind.

    `kind`: 'link', 'prog' or 'map'.
    """
    try:
        with lib.get(path) as fd:
            return read(lib, fd) if lib.kind(fd) == kind else None
    except BpfError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise

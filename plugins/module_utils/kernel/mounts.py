# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List what is mounted, and mount what is missing."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import typing as t

from ..errors import FleetError


def mounts() -> t.List[t.Tuple[str, str]]:
    """Mount point and type of file system, in order. proc(5), mountinfo."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split()
            point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal.group(1), 8)), fields[4])
            found.append((point, fields[fields.index("-") + 1]))
    return found


def mount(kind: str, folder: str) -> None:
    """mount -t KIND KIND FOLDER, as bpftool does if bpffs or tracefs is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    no_suid_dev_exec = 2 | 4 | 8
    if libc.mount(kind.encode(), folder.encode(), kind.encode(), ctypes.c_ulong(no_suid_dev_exec), b"mode=0700"):
        number = ctypes.get_errno()
        raise FleetError(f"cannot mount {kind} on {folder}: {os.strerror(number)}; {_remedy(number, kind)}")


def _remedy(number: int, kind: str) -> str:
    if number in (errno.EPERM, errno.EACCES):  # by hand it would be refused as well
        from .remedies import not_permitted  # here: a target compiles what it imports, and rarely needs this

        return not_permitted()
    if number == errno.ENODEV:
        return f"this kernel has no file system of type {kind}: use one that has"
    return "mount it by hand, or in /etc/fstab"

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted where, and mounting what is missing."""

from __future__ import annotations

import ctypes
import os
import re
import typing as t

from .errors import FleetError
from .pins import BPFFS


def is_mounted(root: str) -> bool:
    """Whether `root` lies, or would lie, in a bpffs. Raises FleetError where it never could."""
    if not os.path.isabs(root) or os.path.normpath(root) != root:
        raise FleetError(f"pin_root {root} is not an absolute, plain path; give one below {BPFFS}")
    if "." in root.replace("%2E", ""):
        raise FleetError(f"pin_root {root} has a dot in it, which bpffs does not allow; give a path without")
    kind = _filesystem(root)
    if kind == "bpf":
        return True
    if (root + "/").startswith(BPFFS + "/"):
        return False
    raise FleetError(
        f"pin_root {root} lies in a file system of type {kind}, which cannot hold BPF objects;"
        f" give a path below {BPFFS}, or mount one there: mount -t bpf bpf FOLDER"
    )


def _filesystem(path: str) -> str:
    """The type of the file system that holds path or its nearest parent."""
    above = [(len(point), kind) for point, kind in mounts() if (path + "/").startswith(point.rstrip("/") + "/")]
    longest = max(length for length, _kind in above)
    return [kind for length, kind in above if length == longest][-1]


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
    """mount -t KIND KIND FOLDER, as bpftool does where bpffs or tracefs is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    no_suid_dev_exec = 2 | 4 | 8
    if libc.mount(kind.encode(), folder.encode(), kind.encode(), ctypes.c_ulong(no_suid_dev_exec), b"mode=0700"):
        number = ctypes.get_errno()
        raise FleetError(f"cannot mount {kind} on {folder}: {os.strerror(number)}; mount it by hand, or in /etc/fstab")

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List what is mounted, and mount what is missing. mount_namespaces(7)"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import ctypes
import errno
import os
import re
import typing as t

from ..errors import FleetError

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
_AT_FDCWD, _OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = -100, 1, 4
_OPEN_TREE, _MOVE_MOUNT = (538, 539) if os.uname().machine == "alpha" else (428, 429)


class Mount(t.NamedTuple):
    """`id` is unique in all mount namespaces; `device` tells one file system from another, as st_dev does."""

    id: int
    device: int
    point: str
    kind: str


def mounts(process: str = "self", kind: str = "") -> t.List[Mount]:
    """What is mounted in the mount namespace of a process, in order; of one kind, or all. proc(5), mountinfo.

    A host with containers has thousands, of which a task needs a few. Raises OSError.
    """
    found = []
    this_kind = f" - {kind} " if kind else " - "  # a blank in a name is written \040
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if this_kind in line:
                fields, _dash, rest = line.partition(" - ")
                number, _parent, device, _root, point = fields.split(" ", 5)[:5]
                if "\\" in point:
                    point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal.group(1), 8)), point)
                major, minor = device.split(":")
                found.append(Mount(int(number), os.makedev(int(major), int(minor)), point, rest.split(" ", 1)[0]))
    return found


def is_namespace_of_pid_1() -> bool:
    """Whether what is mounted here outlives this process and its parents. If nothing can be read, it is assumed."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.stat("/proc/self/ns/mnt"), os.stat("/proc/1/ns/mnt"))
    with contextlib.suppress(OSError):
        return bool({each.id for each in mounts()} & {each.id for each in mounts("1")})
    return True


def mount(kind: str, folder: str) -> None:
    """mount -t KIND KIND FOLDER, as bpftool does if bpffs or tracefs is missing."""
    no_suid_dev_exec = 2 | 4 | 8
    try:
        _call("mount", kind.encode(), folder.encode(), kind.encode(), ctypes.c_ulong(no_suid_dev_exec), b"mode=0700")
    except OSError as error:
        remedy = _remedy(t.cast(int, error.errno), kind)
        raise FleetError(f"cannot mount {kind} on {folder}: {error.strerror}; {remedy}") from error


def borrow(folder: str, prepare: t.Callable[[], None]) -> None:
    """Mount here what the mount namespace of pid 1 has at `folder`, after calling prepare() in that namespace.

    From then on this process has a mount namespace of its own, so that nothing changes for others. Raises OSError.
    """
    kept = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in ("/proc/1/ns/mnt", "/proc/self/ns/mnt", "/", ".")]
    theirs, ours, root, here = kept
    try:
        _call("setns", theirs, _CLONE_NEWNS)
        try:
            prepare()
            kept.append(_system_call(_OPEN_TREE, _AT_FDCWD, folder, _OPEN_TREE_CLONE | os.O_CLOEXEC))
        finally:
            _call("setns", ours, _CLONE_NEWNS)  # this also changes the root and the working directory
            os.fchdir(root)
            os.chroot(".")
            os.fchdir(here)
        _call("unshare", _CLONE_NEWNS)
        _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)
        _system_call(_MOVE_MOUNT, kept[-1], "", _AT_FDCWD, folder, _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        for fd in kept:
            os.close(fd)


def _call(name: str, *arguments: t.Any) -> int:
    """A function of the C library, which Python has only from 3.12, or not at all."""
    done: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return done


def _system_call(number: int, *arguments: t.Any) -> int:
    """One that the C library of many hosts does not know; numbers are as on all newer architectures."""
    words = [ctypes.c_char_p(os.fsencode(each)) if isinstance(each, str) else ctypes.c_long(each) for each in arguments]
    return _call("syscall", ctypes.c_long(number), *words)


def _remedy(number: int, kind: str) -> str:
    if number in (errno.EPERM, errno.EACCES):  # by hand it would be refused as well
        from .remedies import not_permitted  # here: a target compiles what it imports, and rarely needs this

        return not_permitted()
    if number == errno.ENODEV:
        return f"this kernel has no file system of type {kind}: use one that has"
    return "mount it by hand, or in /etc/fstab"

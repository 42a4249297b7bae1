# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network namespace this is, and so which pins are its own. network_namespaces(7)

All namespaces of a machine may share one bpffs, and in each there may be an eth0, even with the same index.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import typing as t

from .places import BPFFS, escape, scan

NAMES = "/run/netns"
# The kernel's fixed inode numbers of the first namespaces, include/uapi/linux/nsfs.h: net from 6.17, pid from 3.8.
_FIRST_NET, _FIRST_PID = 0xEFFFFFF9, 0xEFFFFFFC
_FIRST_COOKIE = 1  # until 6.17; from 6.18 a cookie counts namespaces of all types
_SO_NETNS_COOKIE = {"parisc": 0x4045, "parisc64": 0x4045, "sparc": 0x50, "sparc64": 0x50}.get(os.uname().machine, 71)


def root_of_namespace(pin_root: str) -> str:
    """PIN_ROOT in the machine's own network namespace, PIN_ROOT@NAME in one with a name, else PIN_ROOT@%COOKIE.

    No two namespaces have the same cookie until a reboot, which empties bpffs. Before kernel 5.12 there are no cookies:
    there it is PIN_ROOT@INODE. No name is written so: `escape` makes %25 of a percent sign.
    """
    pin_root = pin_root.rstrip("/")
    cookie = _cookie()
    if _is_the_machines_own(cookie):
        return pin_root
    name = _name() if _in_first_pid_namespace() else None  # a container has names of its own
    return _beside(pin_root) + (escape(name) if name else _number(cookie))


def former_roots(pin_root: str) -> t.List[str]:
    """The other folders that exist and may have pins of this namespace: of before it got, lost or changed its name, and
    those of the release before.

    That took the namespace of pid 1 for the machine's own, which in a container it is not, and trusted the names there.
    Namespaces share these folders: what is in them belongs to this one only if it runs on an interface of this one.
    """
    pin_root = pin_root.rstrip("/")
    own = root_of_namespace(pin_root)
    if own == pin_root:
        return []
    that_of_pid_1 = _is_that_of_pid_1()
    name = None if that_of_pid_1 else _name()
    shared = that_of_pid_1 or (that_of_pid_1 is None and not name)
    released = [pin_root] if shared else [f"{pin_root}@{escape(name)}"] if name else []
    found = [*released, f"{pin_root}@{_inode()}", _beside(pin_root) + _number(_cookie()), *_of_no_other(pin_root)]
    return [each for each in dict.fromkeys(found) if each != own and os.path.isdir(each)]


def _of_no_other(pin_root: str) -> t.List[str]:
    """The folders of names that no namespace has now, as far as this can be known."""
    beside = _beside(pin_root)
    others = set(map(escape, _names_in(NAMES))) if _in_first_pid_namespace() else ()
    folder, start = os.path.split(beside)
    found = [name for name in _names_in(folder) if name.startswith(start) and not name.startswith(f"{start}%")]
    return [f"{folder}/{name}" for name in sorted(found) if name[len(start) :] not in others]


def _names_in(folder: str) -> t.List[str]:
    """In no order: there may be thousands."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _number(cookie: t.Optional[int]) -> str:
    return str(_inode()) if cookie is None else f"%{cookie}"


def _is_the_machines_own(cookie: t.Optional[int]) -> bool:
    """Told by what the kernel gives only to the first: in a container, pid 1 is in the container's namespace."""
    if _inode() == _FIRST_NET:
        return True
    if cookie is not None:
        return cookie == _FIRST_COOKIE
    told = _has_sysctls_of_the_first()
    # Where nothing tells, as in the release before: former_roots() must not take the pins from the machine.
    return _is_that_of_pid_1() is not False if told is None else told


def _inode() -> int:
    """Of this network namespace, as `ls -l /proc/self/ns` shows it. That of one that has ended is given again."""
    return os.stat("/proc/self/ns/net").st_ino


def _cookie() -> t.Optional[int]:
    """None before kernel 5.12."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as any_socket:
        return t.cast(int, struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
    return None


def _has_sysctls_of_the_first() -> t.Optional[bool]:
    """Whether the settings that the kernel has only once are here; None if there are none at all in /proc."""
    core = "/proc/sys/net/core"
    return os.path.exists(f"{core}/netdev_max_backlog") if os.path.isdir(core) else None


def _in_first_pid_namespace() -> bool:
    return os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID


def _is_that_of_pid_1() -> t.Optional[bool]:
    """Whether this is the network namespace of pid 1; None if that cannot be read."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.stat("/proc/self/ns/net"), os.stat("/proc/1/ns/net"))
    return None


@functools.lru_cache(maxsize=None)  # there may be thousands
def _name() -> t.Optional[str]:
    """The name of this network namespace, as ip-netns(8) gives it."""
    here = os.stat("/proc/self/ns/net")
    for entry in scan(NAMES):
        with contextlib.suppress(OSError):
            if os.path.samestat(here, entry.stat()):
                return entry.name
    return None


def _beside(pin_root: str) -> str:
    """What is beside the root of a bpffs is outside of it, so there it is PIN_ROOT/@NAMESPACE."""
    return f"{pin_root}/@" if pin_root == BPFFS or os.path.ismount(pin_root) else f"{pin_root}@"

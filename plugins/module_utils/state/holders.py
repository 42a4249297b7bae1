# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes hold a flock(2): for messages, and to tell the locks of root from those of other users."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import os
import re
import typing as t

from .places import BPFFS, shortened

_UID = re.compile(r"^Uid:\s+(\d+)", re.MULTILINE)  # the real one: a setuid program may inherit a lock of its user


class Holder(t.NamedTuple):
    pid: int
    uid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} of uid {self.uid} ({shortened(self.command)})"


def holders(path: str) -> t.List[Holder]:
    """The processes that hold a lock on the file or folder, as far as they can be seen: not those of other containers.

    /proc/locks has the process that took the lock, which may have ended; a child that inherited it holds it too.
    """
    wanted = os.stat(path)
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended, or is that of a different user
            if any(_has_locked(f"/proc/{name}", fd, wanted) for fd in os.listdir(f"/proc/{name}/fd")):
                found.append(Holder(int(name), _uid(name), _read(f"/proc/{name}/cmdline").replace("\0", " ").strip()))
    return found


def _has_locked(process: str, fd: str, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):  # it was closed meanwhile
        if " FLOCK " in _read(f"{process}/fdinfo/{fd}"):
            return os.path.samestat(os.stat(f"{process}/fd/{fd}"), wanted)
    return False


def _uid(process: str) -> int:
    found = _UID.search(_read(f"/proc/{process}/status"))
    return int(found[1]) if found else -1


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def ignored(folder: str, unseen: bool) -> str:
    """A sentence if the lock on a folder that others can open is not to be waited for, otherwise nothing.

    `unseen`: it has been held for a while, so that processes that hold it would have been seen.
    """
    found = holders(folder)
    if any(each.uid in (0, os.geteuid()) for each in found):
        return ""
    remedy = f", and let only root enter: chmod 0700 {folder}" if folder == BPFFS else ""
    if found:
        pids = " ".join(str(each.pid) for each in found)
        return f"did not wait for the lock that {_listed(found)} has on {folder}; end it with `kill {pids}`{remedy}"
    if unseen:
        return f"did not wait for a lock on {folder}, which others than root can open, of a process in hiding{remedy}"
    return ""


def held_too_long(about: str, path: str, seconds: float) -> str:
    """The message of who has waited in vain."""
    found = holders(path) if seconds and os.path.exists(path) else []
    if found:
        return (
            f"the lock on {about} ({path}) has been held for {seconds:g} s by {_listed(found)};"
            f" wait until that ends, or end it with `kill {' '.join(str(each.pid) for each in found)}`, and run again"
        )
    return (
        f"another process has held the lock on {about} for {seconds:g} s, and cannot be seen here;"
        f" find it with `fuser -v {path}`, in other containers too, and run again"
    )


def _listed(found: t.Sequence[Holder]) -> str:
    return " and ".join(map(str, found[:3])) + (f" and {len(found) - 3} more" if len(found) > 3 else "")

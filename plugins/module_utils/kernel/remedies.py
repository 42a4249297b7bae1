# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about an error number of the kernel. Imported only when there is one.

"Operation not permitted" has many causes: a missing capability, a user namespace, a seccomp filter, lockdown. They are
told apart by what /proc/self and /sys/kernel/security say.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shlex
import typing as t

# linux/capability.h, those that loading, attaching and pinning need
NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39}
LOCKDOWN = "/sys/kernel/security/lockdown"

_USUAL = {
    errno.ENOMEM: "the host is short of memory, or a limit of its control group is reached: free some, and run again",
    errno.ENOSPC: "free some space there, and run again",
    errno.EDQUOT: "free some space there, and run again",
    errno.EROFS: "it is mounted read-only: mount it read-write",
    errno.EMFILE: "raise the limit of open files (ulimit -n), and run again",
    errno.ENFILE: "raise the sysctl fs.file-max, and run again",
    errno.ENOENT: "it has just been removed: run again",
    errno.EBUSY: "something else uses it: run again when that has ended",
    errno.EAGAIN: "the host has no process or memory left for it: run again",
}


def read_text(path: str) -> str:
    """ "" if it cannot be read."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""


def lockdown() -> t.Optional[str]:
    """none, integrity or confidentiality; None if there is none, or it is not visible. kernel_lockdown(7)"""
    found = re.search(r"\[(\w+)\]", read_text(LOCKDOWN))
    return found.group(1) if found else None


def panics_on_warn() -> bool:
    """Whether a WARNING of the kernel stops this host."""
    return read_text("/proc/sys/kernel/panic_on_warn") not in ("", "0")


def locked_down() -> str:
    """The sentence about a lockdown that is in force, with its remedy; "" without one."""
    state = lockdown()
    if state not in ("integrity", "confidentiality"):
        return ""
    milder = "with lockdown=integrity, or without lockdown" if state == "confidentiality" else "without lockdown"
    return f"the kernel is locked down for {state} ({LOCKDOWN}), and may forbid this also to root: boot it {milder}"


def remedy(number: int, path: t.Optional[str] = None) -> str:
    """What to do about an error: one sentence, not capitalised, without a full stop. "" if nothing is known.

    `path`: of the file that could not be used; None for a call, as of bpf(). What forbids the one is not what forbids
    the other.
    """
    if path is not None and number in (errno.ENOENT, errno.EACCES, errno.EPERM):
        return f"`namei -l {shlex.quote(path)}` shows what is there, and who may use it"
    if number in (errno.EPERM, errno.EACCES):
        return not_permitted()
    if number == errno.ENOSYS:  # some container engines answer so too
        filtered = "; ".join(_seccomp(read_text("/proc/self/status")))
        return filtered or "this kernel has no such call: use one with CONFIG_BPF_SYSCALL"
    return _USUAL.get(number, "")


def not_permitted() -> str:
    """What to do where the kernel does not permit something, by what may be the cause."""
    status = read_text("/proc/self/status")
    words = [*_user_namespace(read_text("/proc/self/uid_map")), *_capabilities(status), *_seccomp(status)]
    return "; ".join(words) or locked_down() or "run as root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN"


def _user_namespace(uid_map: str) -> t.Iterator[str]:
    if uid_map and uid_map.split() != ["0", "0", "4294967295"]:
        yield (
            "this runs in a user namespace (a rootless or unprivileged container), in which the kernel allows no bpf()"
            " even to root: run it on the host, or in a container without a user namespace"
        )


def _capabilities(status: str) -> t.Iterator[str]:
    found = re.search(r"CapEff:\s*([0-9a-f]+)", status)
    bits = int(found.group(1), 16) if found else -1
    missing = [name for name, bit in NEEDED.items() if not bits >> bit & 1]
    if missing:
        yield f"this runs without {', '.join(missing)}: run as root (become: true; in a container, --privileged)"


def _seccomp(status: str) -> t.Iterator[str]:
    if re.search(r"Seccomp:\s*2", status):
        yield (
            "a seccomp filter is in force, as in most containers: let its profile allow bpf() and mount(), or start the"
            " container with --privileged or --security-opt seccomp=unconfined; for a systemd service, see"
            " SystemCallFilter"
        )

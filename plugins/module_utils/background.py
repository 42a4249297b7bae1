# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process that outlives the module, its connection and its terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t

TERMINATING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def fork_into_background(work: t.Callable[[], None], keep: t.Iterable[int] = ()) -> int:
    """Fork a child that calls `work` and exits, with status 1 if it raised; returns the child's process id.

    Signals to the parent's process group or terminal (a hang-up) do not reach the child, and it ignores SIGTERM. Of the
    parent's sockets, pipes and files it has only those in `keep`: who waits for the end of others need not wait for it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATING)  # until the child ignores them
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child
    try:
        os.setsid()
        os.chdir("/")
        for number in TERMINATING:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _let_go(frozenset(keep))
        work()
        os._exit(0)
    finally:
        os._exit(1)


def _let_go(keep: t.Container[int]) -> None:
    """Close all file descriptors but the parent's own: those in `keep`, and BPF objects.

    The others are inherited: output, a connection of mitogen, in whose process the module runs, the lock of a flock(1).
    """
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that of the listing itself
            if fd > 2 and fd not in keep and not _is_ours(fd):
                os.close(fd)


def _is_ours(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").startswith(("anon_inode:bpf", "anon_inode:btf"))

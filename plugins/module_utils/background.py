# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process that outlives the module, its connection and its terminal."""

from __future__ import annotations

import os
import signal
import typing as t

TERMINATING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def fork_into_background(work: t.Callable[[], None]) -> int:
    """Fork a child that calls `work` and exits, with status 1 if it raised; returns the child's process id.

    Signals to the parent's process group or terminal (a hang-up) do not reach the child, and it ignores SIGTERM.
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
        devnull = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(devnull, fd)  # else a reader of the parent's output would also wait for the child
        work()
        os._exit(0)
    finally:
        os._exit(1)

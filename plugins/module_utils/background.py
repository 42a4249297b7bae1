# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process that goes on when the module, its connection and its terminal have ended."""

from __future__ import annotations

import os
import signal
import typing as t

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def fork_into_background(work: t.Callable[[], None]) -> int:
    """Fork a child that does `work` and ends, with 1 if that raised; returns its process id.

    Signals that end a process group, a terminal's hang-up among them, do not reach it, nor does a SIGTERM of its own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # not in the moment before it ignores them
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child
    try:
        os.setsid()
        os.chdir("/")
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)  # or whoever waits for the parent's output would wait for ours
        work()
        os._exit(0)
    finally:
        os._exit(1)

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process that goes on when the module, its connection and its terminal have ended."""

from __future__ import annotations

import os
import signal
import typing as t


def fork_into_background(work: t.Callable[[], None], stop_at_sigterm: bool = False) -> int:
    """Fork a child that does `work` and ends; returns its process id.

    A signal to the parent's process group does not reach it. With stop_at_sigterm a SIGTERM of its own raises
    KeyboardInterrupt in `work`, otherwise it is ignored. The child ends with 0, or with 1 if `work` raised.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir("/")
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler if stop_at_sigterm else signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)  # or whoever waits for the parent's output would wait for ours
        work()
        os._exit(0)
    finally:
        os._exit(1)

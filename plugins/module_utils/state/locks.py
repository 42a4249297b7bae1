# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks on folders, for one change at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from ..errors import FleetError
from .places import BPFFS

LOCK_SECONDS = 120  # longer than a provisional change lasts, unless the user asks for longer


@contextlib.contextmanager
def lock(folder: str = BPFFS, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
    """flock(2) on a folder. That on bpffs allows one change of a host's XDP programs at a time, libxdp's included."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FleetError(
                        f"another process has held the lock on {folder} for {seconds:g} s;"
                        f" find it with `fuser -v {folder}`, and run again"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)

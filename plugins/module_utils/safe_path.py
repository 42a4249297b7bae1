# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who could have written what root is about to load into the kernel. The rule is sshd's, for authorized_keys."""

from __future__ import annotations

import os
import stat

from .errors import FleetError


def check_safe(path: str) -> None:
    """Raises FleetError where another than root, or than who runs this, can write to path or a folder above it."""
    real = os.path.realpath(path)
    trusted = {0, os.geteuid()}
    while True:
        try:
            found = os.stat(real)
        except FileNotFoundError:
            found = None
        if found:
            writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
                writable = 0  # sticky, as /tmp is: others cannot replace what is root's in it
            if found.st_uid not in trusted or writable:
                raise FleetError(
                    f"{path} is not safe to load: {real} (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
                    f" can be written by others than root; mend that with chown and chmod,"
                    f" or set allow_unsafe_paths: true"
                )
        if real == "/":
            return
        real = os.path.dirname(real)

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the target, read as a whole, and folders made for new ones."""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t

from ..errors import FleetError


def read_file(path: str, opened: t.Optional[str] = None) -> t.Optional[bytes]:
    """None if there is no such file. Raises FleetError if it is not regular: a pipe or device may never end.

    `opened`: a path below /proc by which to open it, if a file descriptor has been opened already.
    """
    try:
        with open(os.open(opened or path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FleetError(f"{path} is not a regular file")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FleetError(f"cannot read {path}: {error.strerror}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_folders(path: str, forbidden: int = 0o022) -> None:
    """Create a folder and the missing ones above it, without the `forbidden` mode bits, whatever the umask."""
    umask = os.umask(forbidden)
    try:
        os.umask(umask | forbidden)
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(umask)

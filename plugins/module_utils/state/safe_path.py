# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether only root could have written what root loads into the kernel. The rule is sshd's, for authorized_keys."""

from __future__ import annotations

import os
import stat
import typing as t

from ..errors import FleetError

MAX_LINKS = 40  # as many as the kernel follows


def check_safe(path: str, purpose: str = "to load") -> None:
    """Raises FleetError if a user other than root and the current one could change the file at path.

    That is any user who can write to it, to a folder above it, or likewise to the target of a link on the way.
    """
    trusted = {0, os.geteuid()}
    for each in dict.fromkeys(_visited(path)):
        try:
            found = os.lstat(each)
        except (FileNotFoundError, NotADirectoryError):
            continue
        writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISLNK(found.st_mode):
            writable = 0  # the mode of a link means nothing; its owner and its folder count
        elif stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
            writable = 0  # sticky, like /tmp: other users cannot replace root's files in it
        if found.st_uid not in trusted or writable:
            raise FleetError(
                f"{path} is not safe {purpose}: {each} (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
                f" can be changed by users other than root; fix that with chown and chmod,"
                f" or set allow_unsafe_paths: true"
            )


def _visited(path: str) -> t.Iterator[str]:
    """What the kernel looks at on its way to `path`: folders, links, and last the file. path_resolution(7)"""
    here, todo, links = "/", _components(os.path.join(os.getcwd(), path)), 0
    yield here
    while todo:
        name = todo.pop(0)
        if name == "..":
            here = os.path.dirname(here)
            continue
        each = os.path.join(here, name)
        yield each
        if os.path.islink(each) and links < MAX_LINKS:
            links += 1
            target = os.readlink(each)
            here = "/" if target.startswith("/") else here
            todo = _components(target) + todo
        else:
            here = each


def _components(path: str) -> t.List[str]:
    return [each for each in path.split("/") if each not in ("", ".")]

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who could have written what root is about to load into the kernel. The rule is sshd's, for authorized_keys."""

from __future__ import annotations

import os
import stat
import typing as t

from ..errors import FleetError

MOST_LINKS = 40  # as many as the kernel follows


def check_safe(path: str, purpose: str = "to load") -> None:
    """Raises FleetError where another than root, or than who runs this, could change what is at path.

    That is anyone who can write to it, to a folder above it, or above anything that a link on the way points to.
    """
    trusted = {0, os.geteuid()}
    for each in dict.fromkeys(_on_the_way(path)):
        try:
            found = os.lstat(each)
        except (FileNotFoundError, NotADirectoryError):
            continue
        writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISLNK(found.st_mode):
            writable = 0  # its mode means nothing; its owner and its folder do
        elif stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
            writable = 0  # sticky, as /tmp is: others cannot replace what is root's in it
        if found.st_uid not in trusted or writable:
            raise FleetError(
                f"{path} is not safe {purpose}: {each} (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
                f" can be written by others than root; mend that with chown and chmod,"
                f" or set allow_unsafe_paths: true"
            )


def _on_the_way(path: str) -> t.Iterator[str]:
    """The path and all folders above it, and the same of each path that a link on the way leads to."""
    ways, done = [os.path.abspath(path)], 0
    while done < min(len(ways), MOST_LINKS):
        way, done = ways[done], done + 1
        for each in _upwards(way):
            yield each
            if os.path.islink(each):
                target = os.path.join(os.path.dirname(each), os.readlink(each)) + way[len(each) :]
                if os.path.abspath(target) not in ways:
                    ways.append(os.path.abspath(target))
    yield from _upwards(os.path.realpath(path))


def _upwards(path: str) -> t.Iterator[str]:
    """The path, and all folders above it."""
    while True:
        yield path
        if path == os.path.dirname(path):
            return
        path = os.path.dirname(path)

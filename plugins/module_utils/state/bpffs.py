# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system in which pins live: whether a folder is, or can be, in a bpffs."""

from __future__ import annotations

import os

from ..errors import FleetError
from ..kernel.mounts import mounts
from .places import BPFFS


def check_root(root: str) -> None:
    """Raises FleetError where pins can never lie below `root`. A bpffs that is still to be mounted is fine."""
    if not os.path.isabs(root) or os.path.normpath(root) != root:
        raise FleetError(f"pin_root {root} is not an absolute, plain path; give one below {BPFFS}")
    if "." in root.replace("%2E", ""):
        raise FleetError(f"pin_root {root} has a dot in it, which bpffs does not allow; give a path without")
    if not is_mounted(root) and not (root + "/").startswith(BPFFS + "/"):
        raise FleetError(
            f"pin_root {root} lies in a file system of type {_filesystem(root)}, which cannot hold BPF objects;"
            f" give a path below {BPFFS}, or mount one there: mount -t bpf bpf FOLDER"
        )


def is_mounted(root: str) -> bool:
    """Whether `root` lies, or would lie, in a bpffs that is mounted now."""
    return _filesystem(root) == "bpf"


def _filesystem(path: str) -> str:
    """The type of the file system that holds path or its nearest parent."""
    above = [(len(point), kind) for point, kind in mounts() if (path + "/").startswith(point.rstrip("/") + "/")]
    longest = max(length for length, _kind in above)
    return [kind for length, kind in above if length == longest][-1]

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpffs, the file system that contains pins: whether a folder is, or can be, in it."""

from __future__ import annotations

import os

from ..errors import FleetError
from ..kernel.mounts import mounts
from .places import BPFFS


def check_root(root: str) -> None:
    """Raises FleetError if there can never be pins below `root`. A bpffs that is not mounted yet is fine."""
    if not os.path.isabs(root) or os.path.normpath(root) != root:
        raise FleetError(f"pin_root {root} must be an absolute path without '.', '..' and '//'; give one below {BPFFS}")
    if "." in root.replace("%2E", ""):
        raise FleetError(f"pin_root {root} contains a dot, which bpffs does not allow; give a path without dots")
    if not is_mounted(root) and not (root + "/").startswith(BPFFS + "/"):
        raise FleetError(
            f"pin_root {root} is in a file system of type {_filesystem(root)}, which cannot contain pins;"
            f" give a path below {BPFFS}, or mount a bpffs there: mount -t bpf bpf FOLDER"
        )


def is_mounted(root: str) -> bool:
    """Whether `root` is, or would be, in a bpffs that is mounted now."""
    return _filesystem(root) == "bpf"


def _filesystem(path: str) -> str:
    """The type of the file system that contains path or its nearest parent."""
    above = [(len(point), kind) for point, kind in mounts() if (path + "/").startswith(point.rstrip("/") + "/")]
    longest = max(length for length, _kind in above)
    return [kind for length, kind in above if length == longest][-1]

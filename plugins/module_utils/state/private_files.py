# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders for root only: written atomically, and removed with the folders that they leave empty."""

from __future__ import annotations

import contextlib
import os

from .files import make_folders
from .places import NEW, Place


def make_folder(path: str) -> None:
    """Create a folder and the missing ones above it, for root only."""
    make_folders(path, forbidden=0o077)


def remove_empty(*folders: str) -> None:
    """Remove those that are empty, in this order."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove_folders(place: Place) -> None:
    """Remove the empty pin folders of a place, up to the pin root."""
    remove_empty(f"{place.folder}/maps", place.folder, f"{place.root}/{place.name}", place.root)


def remove_empty_folders(root: str, name: str) -> None:
    """Remove the empty folders that a killed run left, of a name that is not on any interface."""
    any_place = Place(root, name, "")
    remove_folders(any_place)
    for path in (any_place.record, any_place.manifest):
        _remove_folders_of(path)


def write_private(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file atomically, whatever the umask, and create missing folders above it, for root only."""
    make_folder(os.path.dirname(path))
    with open(os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + NEW, path)


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_unfinished(path: str) -> None:
    """Remove what a killed write_private() left, and then the empty folders of a record or a manifest."""
    remove(path + NEW)
    _remove_folders_of(path)


def _remove_folders_of(path: str) -> None:
    """Remove the folders of a record or a manifest that are empty."""
    folder = os.path.dirname(path)
    above = os.path.dirname(folder)
    remove_empty(folder, above, os.path.dirname(above))

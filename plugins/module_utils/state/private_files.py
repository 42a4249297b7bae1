# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders for root alone: written whole or not at all, and removed with the folders that they leave empty."""

from __future__ import annotations

import contextlib
import os

from .files import make_folders
from .places import NEW, Place


def make_folder(path: str) -> None:
    """With those that are missing above it, for root alone."""
    make_folders(path, forbidden=0o077)


def remove_empty(*folders: str) -> None:
    """Remove those of them, in this order, that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove_folders(place: Place) -> None:
    """Those of its pins that are empty, upwards to the root."""
    remove_empty(f"{place.folder}/maps", place.folder, f"{place.root}/{place.name}", place.root)


def remove_empty_folders(root: str, name: str) -> None:
    """Those that a run which was killed has left, of a name that is on no interface."""
    any_place = Place(root, name, "")
    remove_folders(any_place)
    for path in (any_place.record, any_place.manifest):
        _remove_folders_of(path)


def write_private(path: str, content: bytes, mode: int = 0o600) -> None:
    """Whole or not at all; with folders above it, for root alone."""
    make_folder(os.path.dirname(path))
    with open(os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + NEW, path)


def remove(path: str) -> None:
    """A file that may not be there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_unfinished(path: str) -> None:
    """What a run that was killed has left of write_private(); and what is empty then, of a record or a manifest."""
    remove(path + NEW)
    _remove_folders_of(path)


def _remove_folders_of(path: str) -> None:
    """Of a record or a manifest, where they are empty."""
    folder = os.path.dirname(path)
    above = os.path.dirname(folder)
    remove_empty(folder, above, os.path.dirname(above))

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records: what the kernel cannot tell of what is pinned. A file in /run for each program and interface."""

from __future__ import annotations

import json
import typing as t

from .pins import RECORDS, Place, scan


class Record(t.NamedTuple):
    """What the kernel cannot tell of what is pinned; gone at reboot, as the pins are."""

    object: str
    checksum: str
    program: str
    mode: str
    program_id: int


def read_record(place: Place) -> t.Optional[Record]:
    """None where there is none, or none that can be read: then the object counts as unknown."""
    return _read_record(place.record)


def _read_record(path: str) -> t.Optional[Record]:
    try:
        with open(path, encoding="utf-8") as file:
            return Record(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def records() -> t.Iterator[Record]:
    """Those of all names and interfaces of this host, in all its network namespaces."""
    for root in scan(RECORDS):
        for name in scan(root.path):
            for entry in scan(name.path):
                found = _read_record(entry.path)
                if found:
                    yield found

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records: what the kernel does not know about pinned programs. A file in /run for each program and interface."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from . import deployed as files
from .deployed import Deployed
from .places import RECORDS, Place, scan


class Record(t.NamedTuple):
    """What was deployed, and the kernel's id of the resulting program. Gone after a reboot, like the pins.

    `first`: the bytes in hexadecimal that sections of global data began with in the object, by pin. Those of .bss,
    which are 0, and large ones are left out. `before`: the program that this one replaced in a dispatcher, where it is
    again if the change was provisional and its holder was killed.
    """

    deployed: Deployed
    program_id: int
    first: t.Mapping[str, str] = {}
    before: int = 0


def read_record(place: Place) -> t.Optional[Record]:
    """None if there is none, or it cannot be read: the object then counts as unknown."""
    return _read_record(place.record)


def _read_record(path: str) -> t.Optional[Record]:
    try:
        with open(path, "rb") as file:
            return Record(*_fields(file.read()))
    except (OSError, ValueError):
        return None


def _fields(content: bytes) -> t.Tuple[Deployed, int, t.Dict[str, str], int]:
    deployed, more = files.read(content, program_id=0, first={}, before=0)
    if not deployed.checksum or not more["program_id"]:
        raise ValueError("it does not say which program it is about")
    first = {pin: str(value) for pin, value in more["first"].items()}
    for value in first.values():
        bytes.fromhex(value)
    return deployed, more["program_id"], first, more["before"]


def records() -> t.Iterator[Record]:
    """The records of all names and interfaces of this host, in all its network namespaces. Only root can read any."""
    try:
        roots = scan(RECORDS)
    except PermissionError:
        return
    for root in roots:
        for name in scan(root.path):
            for entry in scan(name.path):
                found = _read_record(entry.path)
                if found:
                    yield found


def write_record(place: Place, record: t.Optional[Record]) -> None:
    """Write the record; None removes it."""
    # Imported here, so that a task that only reads does not compile it.
    from .private_files import remove, remove_unfinished, write_private

    if record is None:
        remove(place.record)
        remove_unfinished(place.record)
    else:
        more = {"before": record.before} if record.before else {}
        content = files.written(record.deployed, program_id=record.program_id, first=record.first, **more)
        write_private(place.record, content)

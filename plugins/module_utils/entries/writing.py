# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the entries of a map, write a difference, and take it back."""

from __future__ import annotations

import errno
import sys
import typing as t

from ..errors import FleetError
from ..libbpf.elements import Elements
from ..libbpf.kinds import MAPS_OF_MAPS, MapShape
from ..libbpf.library import BpfError
from .difference import Difference, masked

FIXED = ("array", "percpu_array")  # maps that always have all their keys
HASHES = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash")
TYPES = (*FIXED, *HASHES, "lpm_trie")
_FULL = (errno.E2BIG, errno.ENOSPC)  # of a hash, and of an LPM trie


def check_type(name: str, shape: MapShape) -> None:
    """Raises FleetError if entries of such a map cannot be declared."""
    if shape.type in MAPS_OF_MAPS:
        raise FleetError(f"{name} is a map of maps: name one of its slots, with slot")
    if shape.type not in TYPES:
        raise FleetError(
            f"{name} is a map of type {shape.type}, whose entries cannot be declared; possible are {', '.join(TYPES)}"
        )


def warning(name: str, shape: MapShape) -> str:
    """What the kernel may do with declared entries; "" if nothing."""
    if shape.type.startswith("lru"):
        return f"{name} drops its least used entries when it is full, declared ones too: a later run adds them again"
    return ""


def seen_entries(
    elements: Elements, shape: MapShape, keys: t.Optional[t.Iterable[bytes]], canonical: t.Callable[[bytes], bytes]
) -> t.Dict[bytes, bytes]:
    """All entries; of a map that always has all keys only those with these keys, unless they are None.

    `canonical`: of a key codec. An LPM trie gives prefixes back as they were written, with the bits behind them.
    """
    if shape.type in FIXED and keys is not None:
        return elements.lookup(keys)
    found: t.Dict[bytes, bytes] = {}
    for portion in elements.read():
        found.update([(canonical(key), value) for key, value in portion] if shape.type == "lpm_trie" else portion)
    return found


def check_room(name: str, shape: MapShape, seen: int, made: Difference) -> None:
    """Raises FleetError if the map cannot hold all entries while they are written: the new ones come first."""
    if shape.type in FIXED:
        last = max((int.from_bytes(key, sys.byteorder) for key, _value in made.added), default=0)
        if last >= shape.max_entries:
            raise FleetError(
                f"{name} has elements up to {last}, and is to have 0 to {shape.max_entries - 1}: nothing was changed."
                " Set maps: reset to start with an empty map"
            )
        return
    if shape.type == "lpm_trie" and made.updated and seen >= shape.max_entries:  # before 6.13, it first allocates
        raise FleetError(
            f"{name} is full, with {seen} entries, and many kernels update none of a full LPM trie. Use"
            " replace: at_once, which fills a new map, or give it more room with map_sizes of xdp_program; nothing was"
            " changed"
        )
    together = seen + len(made.added)
    if shape.type.startswith("lru") or together <= shape.max_entries:
        return
    left = together - len(made.removed)
    words = f"{name} has room for {shape.max_entries} entries; it has {seen}, and {len(made.added)} are to be added"
    if left > shape.max_entries:
        raise FleetError(
            f"{words}. Give it more room with map_sizes of xdp_program, or list fewer; nothing was changed"
        )
    raise FleetError(
        f"{words} before {len(made.removed)} are removed. Use replace: at_once, which fills a new map, or give it room"
        f" for {together} entries with map_sizes of xdp_program; nothing was changed"
    )


def write(name: str, elements: Elements, shape: MapShape, made: Difference) -> None:
    """Raises FleetError if the kernel refuses one; those before it are written then."""
    done = 0
    try:
        elements.update(made.written)
        done = len(made.updated) + len(made.added)
        elements.delete([key for key, _value in made.removed])
    except BpfError as error:
        raise FleetError(_refusal(name, shape, made, error, done + error.done)) from error


def undo(elements: Elements, made: Difference) -> None:
    """Take back what was written, and nothing else: other bits of a value may have changed since. Raises BpfError."""
    now = elements.lookup(each.key for each in made.updated)
    before = [
        (each.key, masked(now[each.key], each.before, _changed(each.before, each.after)))
        for each in made.updated
        if each.key in now
    ]
    elements.delete([key for key, _value in made.added])
    elements.update([*before, *made.removed])


def _changed(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _refusal(name: str, shape: MapShape, made: Difference, error: BpfError, done: int) -> str:
    total = len(made.added) + len(made.updated) + len(made.removed)
    words = f"{done} of {total} changes were written to {name}"
    if error.errno in _FULL:
        return (
            f"{words}: it is full, it has room for {shape.max_entries} entries, and something else adds some."
            " Give it more room with map_sizes of xdp_program, and run again"
        )
    from ..kernel.remedies import remedy  # here: a target compiles what it imports, and rarely needs this

    return "; ".join(filter(None, [f"{words}, then the kernel said: {error.strerror}", remedy(error.errno or 0)]))

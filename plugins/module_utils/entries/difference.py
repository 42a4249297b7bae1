# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be written into a map so that it has the declared entries. Pure, and in bytes.

A value may be declared in part: of a struct only some members, the others being the program's own.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import itertools
import typing as t

Pair = t.Tuple[bytes, bytes]


class Declared(t.NamedTuple):
    """The entries that a map must have, or with `absent` must not have, by key.

    `masks`: the bits that are named of a value that is declared in part, by key. exclusive: other entries are removed,
    but only those whose keys have the bytes of `within`, a key and its mask, if it is given.
    """

    values: t.Mapping[bytes, bytes]
    masks: t.Mapping[bytes, bytes] = {}
    absent: bool = False
    exclusive: bool = False
    within: t.Optional[Pair] = None


class Updated(t.NamedTuple):
    key: bytes
    before: bytes
    after: bytes


class Difference(t.NamedTuple):
    """What is to be written; in the order in which it is written, so that no key is missing meanwhile."""

    added: t.Collection[Pair] = ()
    updated: t.Tuple[Updated, ...] = ()
    removed: t.Tuple[Pair, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.removed)

    @property
    def written(self) -> t.Iterator[Pair]:
        return itertools.chain(((each.key, each.after) for each in self.updated), self.added)


def difference(declared: Declared, seen: t.Mapping[bytes, bytes], fixed: bool) -> Difference:
    """fixed: the map always has all its keys, as an array has; then removing an entry sets it to 0."""
    if declared.absent:
        return _without(((key, seen[key]) for key in declared.values if key in seen), fixed)
    if declared.values == seen:  # a million of them are rarely different
        return Difference()
    if not seen:
        return Difference(declared.values.items())  # not as a tuple, which a million of them would make large
    added, updated, masks, there = [], [], declared.masks, seen.get
    for key, value in [pair for pair in declared.values.items() if there(pair[0]) != pair[1]]:
        before = there(key)
        if before is None:
            added.append((key, value))
        else:
            after = masked(before, value, masks[key]) if key in masks else value
            if after != before:
                updated.append(Updated(key, before, after))
    gone = Difference()
    if declared.exclusive:
        others = ((key, value) for key, value in seen.items() if key not in declared.values)
        if declared.within:
            wanted, mask = declared.within
            others = ((key, value) for key, value in others if masked(key, wanted, mask) == key)
        gone = _without(others, fixed)
    return Difference(tuple(added), (*updated, *gone.updated), gone.removed)


def _without(pairs: t.Iterable[Pair], fixed: bool) -> Difference:
    if not fixed:
        return Difference(removed=tuple(pairs))
    zeros = ((key, value, bytes(len(value))) for key, value in pairs)
    return Difference(updated=tuple(Updated(*each) for each in zeros if each[1] != each[2]))


def masked(before: bytes, value: bytes, mask: bytes) -> bytes:
    """`before`, with those bits of `value` that the mask has."""
    bits = int.from_bytes(mask, "big")
    return (int.from_bytes(before, "big") & ~bits | int.from_bytes(value, "big") & bits).to_bytes(len(before), "big")

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry values over by name, from bytes of one layout into bytes of a different one. Pure.

A number is carried if its value fits, whatever its size and sign are, that of a renumbered enum by its name; a member
of a struct, and a variable of a section, if one of the same name was there. Of a union, and of what else cannot be
taken apart, all is carried or none.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import sys
import typing as t

from ..libbpf.layouts import Layout, Member, misplaced, renumbered
from .numbers import bounds


class Carried(t.NamedTuple):
    """The new bytes, and what became of each name: `carried`, `fresh` (only the new layout has it), `dropped` (only the
    old one had it), and `refused`: a sentence for each whose value the new type cannot hold. It keeps its first value.
    """

    data: bytes
    carried: t.Tuple[str, ...]
    fresh: t.Tuple[str, ...]
    dropped: t.Tuple[str, ...]
    refused: t.Tuple[str, ...]


def carry(
    old: Layout, new: Layout, data: bytes, first: bytes = b"", name: str = "", order: str = sys.byteorder
) -> Carried:
    """`data` as `old` has it; `first`: what the new bytes begin with, all zeroes by default. `name`: of a value that is
    not a struct. `order`: of the bytes.
    """
    if len(data) != old.size or len(first or bytes(new.size)) != new.size:
        raise ValueError(f"{len(data)} B and {len(first)} B are not of {old} and {new}")
    work = _Carrier(data, bytearray(first or bytes(new.size)), order)
    work.carry(Member("", 0, old), Member("", 0, new), name)
    return Carried(bytes(work.after), *(tuple(each) for each in (work.carried, work.fresh, work.dropped, work.refused)))


class _Carrier:
    def __init__(self, before: bytes, after: bytearray, order: str) -> None:
        self.before, self.after = before, after
        self._order: t.Any = order
        self.carried: t.List[str] = []
        self.fresh: t.List[str] = []
        self.dropped: t.List[str] = []
        self.refused: t.List[str] = []
        self._told = (self.carried, self.fresh, self.dropped)

    def carry(self, old: Member, new: Member, name: str) -> bool:
        """Offsets are those in all the data. Whether there was nothing that could not be carried."""
        was, now = old.layout, new.layout
        if was.kind == now.kind and now.kind in ("struct", "datasec"):
            return self._members(old, new, name)
        if was.kind == now.kind == "int":
            return self._number(old, new, name)
        if was.kind == now.kind == "array" and (was.length != now.length or list(misplaced(was, now))):
            return self._elements(old, new, name)
        if list(misplaced(was, now)) or was.size != now.size:
            return self._refuse(name, f"was {was} and is {now}")
        self._copy(old, new, now.size)
        self.carried.append(name)
        return True

    def _members(self, old: Member, new: Member, name: str) -> bool:
        was, now = (_by_name(each.layout) for each in (old, new))
        self.dropped += [f"{name}.{each}".lstrip(".") for each in was if each not in now]
        good = True
        for each, members in now.items():
            path = f"{name}.{each}".lstrip(".")
            before = was.get(each, [])
            if not before:
                self.fresh.append(path)
            elif len(before) > 1 or len(members) > 1:  # static variables of different functions
                good = self._refuse(path, "is there more than once")
            else:
                there, here = before[0], members[0]
                there, here = (
                    each._replace(offset=each.offset + base.offset) for each, base in ((there, old), (here, new))
                )
                good = self.carry(there, here, path) and good
        return good

    def _number(self, old: Member, new: Member, name: str) -> bool:
        """Of the same width the bits are copied, whatever their sign, as an upgrade does that keeps the map."""
        if renumbered(old.layout, new.layout):
            return self._named_number(old, new, name)
        if not old.bits and not new.bits and old.layout.size == new.layout.size:
            self._copy(old, new, new.layout.size)
        else:
            value, width = self._bits(old), _width(new)
            low, high = bounds(width, new.layout.signed)
            if width != _width(old):
                value -= value >> _width(old) - 1 << _width(old) if old.layout.signed else 0
                if not low <= value <= high:
                    return self._refuse(name, f"is {value}, which is not in {low}..{high}")
            self._put(new, value & (1 << width) - 1)
        self.carried.append(name)
        return True

    def _named_number(self, old: Member, new: Member, name: str) -> bool:
        value = self._bits(old)
        was = {number & (1 << _width(old)) - 1: each for each, number in reversed(old.layout.names)}.get(value)
        now = dict(new.layout.names).get(was or "")
        if now is None:
            return self._refuse(name, f"is {was or value}, which is no name of the new enum")
        self._put(new, now & (1 << _width(new)) - 1)
        self.carried.append(name)
        return True

    def _elements(self, old: Member, new: Member, name: str) -> bool:
        was, now = (each.layout.members[0].layout for each in (old, new))
        both = min(old.layout.length, new.layout.length)
        rest = self.before[old.offset // 8 + both * was.size : old.offset // 8 + old.layout.size]
        if rest.strip(b"\0"):
            return self._refuse(name, f"had {old.layout.length} elements and has {new.layout.length}")
        if not list(misplaced(was, now)) and was.size == now.size:
            self._copy(old, new, both * now.size)
            self.carried.append(name)
            return True
        good = True
        for index in range(both):
            kept = [len(each) for each in self._told]
            good = (
                self.carry(
                    Member("", old.offset + 8 * index * was.size, was),
                    Member("", new.offset + 8 * index * now.size, now),
                    f"{name}[{index}]",
                )
                and good
            )
            for names, length in zip(self._told, kept):  # what is told of the first one is the same for all
                names[length:] = [] if index else [each.replace(f"{name}[0]", name, 1) for each in names[length:]]
        return good

    def _refuse(self, name: str, reason: str) -> bool:
        self.refused.append(f"{name or 'it'} {reason}")
        return False

    def _copy(self, old: Member, new: Member, size: int) -> None:
        begin = old.offset // 8
        self.after[new.offset // 8 : new.offset // 8 + size] = self.before[begin : begin + size]

    def _bits(self, member: Member) -> int:
        begin, end, shift = self._range(member)
        return int.from_bytes(self.before[begin:end], self._order_of(member)) >> shift & (1 << _width(member)) - 1

    def _put(self, member: Member, bits: int) -> None:
        begin, end, shift = self._range(member)
        order, ones = self._order_of(member), (1 << _width(member)) - 1
        around = int.from_bytes(self.after[begin:end], order) & ~(ones << shift)
        self.after[begin:end] = (around | bits << shift).to_bytes(end - begin, order)

    def _range(self, member: Member) -> t.Tuple[int, int, int]:
        """The bytes that a number touches, and how far it is shifted in them. BTF counts bits as they lie in memory."""
        stop = member.offset + _width(member)
        begin, end = member.offset // 8, -(-stop // 8)
        return begin, end, member.offset % 8 if self._order == "little" else 8 * end - stop

    def _order_of(self, member: Member) -> t.Any:
        return self._order if member.bits else member.layout.order or self._order


def _width(member: Member) -> int:
    return member.bits or 8 * member.layout.size


def _by_name(layout: Layout) -> t.Dict[str, t.List[Member]]:
    found: t.Dict[str, t.List[Member]] = {}
    for each in layout.members:
        if each.name:
            found.setdefault(each.name, []).append(each)
    return found

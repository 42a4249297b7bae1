# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the names of a type lie in its bytes, from BTF, and whether two types agree about it."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import sys
import typing as t

from .btf import Btf, Type

_TRANSPARENT = ("typedef", "volatile", "const", "restrict", "type_tag", "var")
_NUMBERS = ("int", "enum", "enum64")
# Kernels that do not know these kinds get a different one of the same size from libbpf.
_REPLACED = ("float", "enum64")
_DEEPEST = 64


class Member(t.NamedTuple):
    """A member of a struct, or a variable in a section. Offset in bits; `bits` are those of a bit field, else 0."""

    name: str
    offset: int
    layout: "Layout"
    bits: int = 0


class Layout(t.NamedTuple):
    """A type without its own name: typedefs, const and volatile do not change where a name finds its bytes.

    `kind` is int (of any sign, and enums), ptr, array, struct, union, datasec, or what else BTF has; `size` in bytes;
    `length` the elements of an array, whose only member is the element. `signed` only matters for what people read.
    """

    kind: str
    size: int
    members: t.Tuple[Member, ...] = ()
    length: int = 0
    signed: bool = False
    replaced: bool = False  # in a kernel that does not know it, a struct or union

    def __str__(self) -> str:
        if self.kind == "array":
            return f"{self.length} times {self.members[0].layout}"
        return f"{self.kind} of {self.size} B"


class Layouts(Btf):
    """Raises ValueError as Btf does; its methods too, for damaged types, as those that contain themselves."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._known: t.Dict[int, t.Optional[Layout]] = {}  # None: not finished yet

    def section(self, name: str) -> t.Optional[Layout]:
        """The variables of a section of global data; None if there is no such section."""
        for number, each in enumerate(self.types):
            if each.kind == "datasec" and each.name == name:
                return self.layout(number)
        return None

    def layout(self, number: int) -> Layout:
        if number not in self._known:
            if sum(each is None for each in self._known.values()) > _DEEPEST:
                raise ValueError("BTF has a type that is nested too deeply")
            self._known[number] = None
            self._known[number] = self._layout(number)
        found = self._known[number]
        if not found:
            raise ValueError("BTF has a type that contains itself")
        return found

    def _layout(self, number: int) -> Layout:
        if number >= len(self.types):
            raise ValueError("BTF refers to a type that does not exist")
        each = self.types[number]
        if each.kind in _TRANSPARENT:
            return self.layout(each.target)
        if each.kind in _NUMBERS:
            signed = self.words(each.rest, 1)[0] >> 24 & 1 if each.kind == "int" else each.flag
            return Layout("int", each.target, signed=bool(signed), replaced=each.kind in _REPLACED)
        if each.kind == "ptr":
            return Layout("ptr", 8)
        if each.kind == "array":
            target, _index, length = self.words(each.rest, 3)
            element = self.layout(target)
            return Layout("array", element.size * length, (Member("", 0, element),), length)
        if each.kind in ("struct", "union"):
            return Layout(each.kind, each.target, tuple(self._members(each)))
        if each.kind == "datasec":
            return Layout("datasec", each.target, tuple(self._variables(each)))
        return Layout(each.kind, each.target if each.kind == "float" else 0, replaced=each.kind in _REPLACED)

    def _variables(self, section: Type) -> t.Iterator[Member]:
        for at in range(section.rest, section.rest + 12 * section.members, 12):
            number, offset, _size = self.words(at, 3)
            layout = self.layout(number)
            yield Member(self.types[number].name, 8 * offset, layout)

    def _members(self, struct: Type) -> t.Iterator[Member]:
        """The members of a struct or union, with those of members that have no name."""
        for at in range(struct.rest, struct.rest + 12 * struct.members, 12):
            name, target, offset = self.words(at, 3)
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if struct.flag else (0, offset)
            layout = self.layout(target)
            if name or layout.kind not in ("struct", "union"):
                yield Member(self.string(name), offset, layout, bits)
            else:
                yield from (inner._replace(offset=inner.offset + offset) for inner in layout.members)


def misplaced(old: Layout, new: Layout, name: str = "") -> t.Iterator[str]:
    """A sentence for each name of `new` that would not find its own in bytes written as `old`."""
    if new.replaced and old.kind in ("struct", "union"):
        if new.size != old.size:
            yield f"{name or 'it'} had {old.size} B and has {new.size} B"
    elif (old.kind, old.length) != (new.kind, new.length) or (new.kind != "datasec" and old.size != new.size):
        yield f"{name or 'it'} was {old} and is {new}"
    else:
        there: t.Dict[str, t.List[Member]] = {}
        for member in old.members:
            there.setdefault(member.name, []).append(member)
        for member in new.members:
            found = there.get(member.name, [])
            # Static variables of different functions may have the same name.
            same = [each for each in found if (each.offset, each.bits) == (member.offset, member.bits)] or found
            yield from _misplaced(same[0] if same else None, member, f"{name}.{member.name}".strip("."))


def _misplaced(old: t.Optional[Member], new: Member, name: str) -> t.Iterator[str]:
    if old is None:
        yield f"{name} is new"
    elif (old.offset, old.bits) != (new.offset, new.bits):
        yield f"{name} was at {_place(old)} and is at {_place(new)}"
    else:
        yield from misplaced(old.layout, new.layout, name)


def _place(member: Member) -> str:
    byte, bit = divmod(member.offset, 8)
    return f"byte {byte}, bits {bit} to {bit + member.bits - 1}" if member.bits else f"byte {byte}"


def readable(layout: Layout, value: bytes) -> str:
    """A value as in the source if it is a number, else in hexadecimal."""
    if layout.kind == "int" and layout.size <= 8:
        return str(int.from_bytes(value, sys.byteorder, signed=layout.signed))
    return f"0x{value[:16].hex()}{'…' if len(value) > 16 else ''}"

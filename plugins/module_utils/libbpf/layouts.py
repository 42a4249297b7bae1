# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the names of a type lie in its bytes, from BTF, and whether two types agree about it."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import itertools
import sys
import typing as t

from .btf import Btf, Type

_TRANSPARENT = ("typedef", "volatile", "const", "restrict", "type_tag", "var")
_NUMBERS = ("int", "enum", "enum64")
# Kernels that do not know these kinds get a different one of the same size from libbpf.
_REPLACED = ("float", "enum64")
_DEEPEST = 64
_WHOLE = 0xFFFFFFFF  # as the number of a member: the tag is that of the whole
_MOST = 1 << 16  # members of a struct, with those of its anonymous members
_BIG, _LITTLE = ("__be16", "__be32", "__be64"), ("__le16", "__le32", "__le64")
_ORDERS = {**dict.fromkeys(_BIG, "big"), **dict.fromkeys(_LITTLE, "little")}


class Member(t.NamedTuple):
    """A member of a struct, or a variable in a section. Offset in bits; `bits` are those of a bit field, else 0.

    `tag`: that of __attribute__((btf_decl_tag("…"))) in the source.
    """

    name: str
    offset: int
    layout: "Layout"
    bits: int = 0
    tag: str = ""


class Layout(t.NamedTuple):
    """A type without its own name: typedefs, const and volatile do not change where a name finds its bytes.

    `kind` is int (of any sign, and enums), ptr, array, struct, union, datasec, or what else BTF has; `size` in bytes;
    `length` the elements of an array, whose only member is the element; `names` those of an enum, with their numbers as
    bits. `signed`, `number` and `order` only matter for values.
    """

    kind: str
    size: int
    members: t.Tuple[Member, ...] = ()
    length: int = 0
    signed: bool = False
    replaced: bool = False  # in a kernel that does not know it, a struct or union
    number: int = 0  # of the type in its BTF, without typedefs and qualifiers
    order: str = ""  # big or little, if a typedef says so: __be32
    names: t.Tuple[t.Tuple[str, int], ...] = ()

    def __str__(self) -> str:
        if self.kind == "array":
            return f"{self.length} times {self.members[0].layout}"
        return f"{self.kind} of {self.size} B"


class Layouts(Btf):
    """Raises ValueError as Btf does; its methods too, for damaged types, as those that contain themselves."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._known: t.Dict[int, t.Optional[Layout]] = {}  # None: not finished yet
        # By the type or variable, and the number of the member or _WHOLE.
        self._tags = {
            (each.target, self.words(each.rest, 1)[0]): each.name for each in self.types if each.kind == "decl_tag"
        }

    def section(self, name: str) -> t.Optional[Layout]:
        """The variables of a section of global data; None if there is no such section."""
        return next((self.layout(number) for section, number in self.sections() if section == name), None)

    def sections(self) -> t.List[t.Tuple[str, int]]:
        """Names and types of all sections that have variables."""
        return [(each.name, number) for number, each in enumerate(self.types) if each.kind == "datasec"]

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
        each = self.type(number)
        if each.kind in _TRANSPARENT:
            found = self.layout(each.target)
            order = _ORDERS.get(each.name) if each.kind == "typedef" and found.kind == "int" else None
            return found._replace(order=order) if order else found
        if each.kind in _NUMBERS:
            signed = self.words(each.rest, 1)[0] >> 24 & 1 if each.kind == "int" else each.flag
            names = tuple(self._names(each)) if each.kind != "int" else ()
            replaced = each.kind in _REPLACED
            return Layout("int", each.target, signed=bool(signed), replaced=replaced, number=number, names=names)
        if each.kind == "ptr":
            return Layout("ptr", 8)
        if each.kind == "array":
            target, _index, length = self.words(each.rest, 3)
            element = self.layout(target)
            return Layout("array", element.size * length, (Member("", 0, element),), length, number=number)
        if each.kind in ("struct", "union"):
            members = tuple(itertools.islice(self._members(number, each), _MOST + 1))
            if len(members) > _MOST:  # only damaged ones: anonymous members double at each depth
                raise ValueError("BTF has a type with too many members")
            return Layout(each.kind, each.target, members, number=number)
        if each.kind == "datasec":
            return Layout(each.kind, each.target, tuple(self._variables(each)), number=number)
        size = each.target if each.kind == "float" else 0
        return Layout(each.kind, size, replaced=each.kind in _REPLACED, number=number)

    def _names(self, enum: Type) -> t.Iterator[t.Tuple[str, int]]:
        width = 3 if enum.kind == "enum64" else 2
        ones = (1 << 8 * enum.target) - 1
        for at in range(enum.rest, enum.rest + 4 * width * enum.members, 4 * width):
            name, low, *high = self.words(at, width)
            yield self.string(name), (low | sum(high) << 32) & ones

    def _variables(self, section: Type) -> t.Iterator[Member]:
        for at in range(section.rest, section.rest + 12 * section.members, 12):
            number, offset, _size = self.words(at, 3)
            layout = self.layout(number)
            yield Member(self.types[number].name, 8 * offset, layout, tag=self._tags.get((number, _WHOLE), ""))

    def _members(self, number: int, struct: Type) -> t.Iterator[Member]:
        """The members of a struct or union, with those of members that have no name."""
        for index in range(struct.members):
            name, target, offset = self.words(struct.rest + 12 * index, 3)
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if struct.flag else (0, offset)
            layout = self.layout(target)
            if name or layout.kind not in ("struct", "union"):
                yield Member(self.string(name), offset, layout, bits, self._tags.get((number, index), ""))
            else:
                yield from (inner._replace(offset=inner.offset + offset) for inner in layout.members)


def misplaced(old: Layout, new: Layout, name: str = "") -> t.Iterator[str]:
    """A sentence for each name of `new` that would not find its own in bytes written as `old`."""
    if new.replaced and old.kind in ("struct", "union"):
        if new.size != old.size:
            yield f"{name or 'it'} had {old.size} B and has {new.size} B"
    elif renumbered(old, new):
        yield from (f"{name}: {each}".lstrip(": ") for each in renumbered(old, new))
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


def renumbered(old: Layout, new: Layout) -> t.List[str]:
    """A sentence for each name of an enum that has a different number now."""
    if not old.names or not new.names or old.size != new.size:
        return []
    now = dict(new.names)
    return [f"{each} was {number} and is {now[each]}" for each, number in old.names if now.get(each, number) != number]


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

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between values as YAML has them and the bytes of a type, by its BTF.

A type is compiled once into functions, as a list may have a million keys.

- Integers are numbers, also those of __be16 and its like; enums are names, or numbers. A text with three dots in 4
  bytes is an IPv4 address, one with a colon in 16 bytes an IPv6 address; both lie as in the packet. __u8[6] is a MAC
  address.
- char[n] is a text of at most n - 1 bytes. What is not text is read, and may be given, as 0x and hexadecimal digits.
- Structs and unions are mappings; the members of what is anonymous are among them. Not all need be given: the rest is
  zero, and not in the mask of part(). Those that share bytes must agree. All are read, also of a union.
- Arrays are lists. A shorter one is filled up with zeroes, as in C; a mapping of indexes names only these elements.
- Sections of global data are mappings of their variables.
- Pointers can only be given as they are read, in hexadecimal digits, and the kernel's own members, such as a
  bpf_spin_lock, not at all.
"""

from __future__ import annotations

import sys
import typing as t

from ..libbpf.btf import Type
from ..libbpf.layouts import Layout, Layouts, Member
from .addresses import TEXTS
from .columns import LARGEST as LARGEST_OF_MANY
from .composites import Place, array, structure
from .numbers import Number, boolean, enumeration, integer
from .refused import ValueRefused, listed, refuse
from .scalars import Codec, floating, hexadecimal, opaque, plain_integer, text, whole_number, with_texts

LARGEST = 1 << 24  # bytes of a value; nobody writes a longer one into YAML, but damaged BTF may have it
_LONGEST_OF_NOTHING = 1 << 10  # elements of 0 B: damaged BTF may have any number of them
FORMATS = ("ipv4", "ipv6", "mac", "hex", "text", "number", "network_order")
_ADDRESSES = {"ipv4": 4, "ipv6": 16, "mac": 6}  # bytes
_COMPOSED = ("array", "struct", "union")
_SIZES = (1, 2, 4, 8, 16)  # bytes of numbers
_BOOL = 1 << 26  # BTF_INT_BOOL
_STRUCTS = {"in_addr": "ipv4", "in6_addr": "ipv6"}
_CANNOT = "cannot be set: this is "
_HIDDEN = (
    "bpf_spin_lock bpf_res_spin_lock bpf_timer bpf_wq bpf_task_work bpf_list_head bpf_list_node bpf_rb_root bpf_rb_node"
    " bpf_refcount"
).split()


def codec(
    types: Layouts,
    layout: Layout,
    name: str = "value",
    formats: t.Optional[t.Mapping[str, str]] = None,
    order: str = sys.byteorder,
    whole: bool = False,
    tag: str = "",
) -> Codec:
    """Raises ValueError if the BTF is damaged, and ValueRefused for senseless formats.

    `name` begins the paths in errors, and those in `formats`, as key.saddr; others are ignored. `order` is that of the
    data. `whole`: a value must have all members, as a key must. `tag`: that of a variable.
    """
    formats = {path: each for path, each in (formats or {}).items() if path == name or path.startswith(f"{name}.")}
    for path, wanted in formats.items():
        if wanted not in FORMATS:
            raise refuse(wanted, f"is not a format; there are {listed(FORMATS)}").within(path)
        _check_path(layout, name, path)
    return _rooted(_Compiler(types, formats, order, whole).compiled(layout, name, tag), name)


def hex_codec(size: int, name: str = "value") -> Codec:
    """For bytes without BTF: 0x and hexadecimal digits."""
    return _rooted(opaque(size, f"is not {size} B as 0x and hexadecimal digits; there is no BTF"), name)


def _rooted(inner: Codec, name: str) -> Codec:
    """With the whole path in errors, and the size of data checked."""

    def encode(value: t.Any, plain: t.Callable[[t.Any], bytes] = inner.encode) -> bytes:
        try:
            return plain(value)
        except ValueRefused as error:
            raise error.within(name) from None

    def part(value: t.Any) -> t.Tuple[bytes, bytes]:
        try:
            return inner.part(value)
        except ValueRefused as error:
            raise error.within(name) from None

    def decode(data: bytes, plain: t.Callable[[bytes], t.Any] = inner.decode, size: int = inner.size) -> t.Any:
        if len(data) != size:
            raise ValueRefused(f"{len(data)} B", f"are not the {size} B of its type").within(name)
        return plain(data)

    many = inner.pack_many if inner.size <= LARGEST_OF_MANY else None
    return inner._replace(encode=encode, part=part, decode=decode, pack_many=many)


def _check_path(layout: Layout, name: str, path: str) -> None:
    """Whether the path of a format leads to a member."""
    at = name
    for step in path[len(name) + 1 :].split(".") if path != name else ():
        while layout.kind == "array":
            layout = layout.members[0].layout
        found = next((each for each in layout.members if each.name == step), None)
        if not found:
            names = [each.name for each in layout.members if each.name]
            raise refuse(step, f"is not a member; there are {listed(names)}").within(at)
        at, layout = f"{at}.{step}", found.layout


class _Compiler:
    def __init__(self, types: Layouts, formats: t.Mapping[str, str], order: str, whole: bool) -> None:
        self._types, self._formats, self._order, self._whole = types, formats, order, whole
        self._known: t.Dict[t.Tuple[int, str, str], Codec] = {}

    def compiled(self, layout: Layout, path: str, tag: str) -> Codec:
        if any(each == path or each.startswith(f"{path}.") for each in self._formats):
            return self._made(layout, path, tag)
        # A type that is used in many places is compiled once: in damaged BTF there may be any number of places.
        key = (layout.number, layout.order, tag)
        if key not in self._known:
            self._known[key] = self._made(layout, path, tag)
        return self._known[key]

    def _made(self, layout: Layout, path: str, tag: str) -> Codec:
        if layout.size > LARGEST:
            raise ValueError(f"BTF has a type of {layout.size} B, and values have at most {LARGEST} B")
        asked = self._formats.get(path)
        if asked and not self._fits(layout, asked):
            if layout.kind == "array":
                return self._array(layout, path, tag)  # the format may be that of its elements
            raise refuse(asked, f"is not a format of {layout}").within(path)
        for wanted in (asked, tag, self._default(layout)):
            if wanted and self._fits(layout, wanted):
                return self._formatted(layout, path, wanted)
        return self._plain(layout, path, tag)

    def _fits(self, layout: Layout, wanted: str) -> bool:
        if wanted in _ADDRESSES:
            return layout.size == _ADDRESSES[wanted] and layout.kind in ("int", *_COMPOSED)
        if wanted == "network_order":
            return layout.kind == "int" and self._types.type(layout.number).kind == "int"
        if wanted == "text":
            return layout.kind == "array" and self._element(layout) != "" and layout.size == layout.length
        return wanted == "number" or (wanted == "hex" and layout.kind in _COMPOSED)

    def _element(self, layout: Layout) -> str:
        """The type of the elements of an array of integers, else nothing."""
        element = layout.members[0].layout
        found = self._types.type(element.number) if element.kind == "int" else None
        return found.name if found and found.kind == "int" else ""

    def _default(self, layout: Layout) -> str:
        if layout.kind == "array":
            element = self._element(layout)
            return "text" if element == "char" else "mac" if (element, layout.length) == ("unsigned char", 6) else ""
        return _STRUCTS.get(self._types.type(layout.number).name, "") if layout.kind == "struct" else ""

    def _formatted(self, layout: Layout, path: str, wanted: str) -> Codec:
        if wanted == "network_order":
            return self._number(layout._replace(order="big"))
        plain = self._plain(layout, f"{path}[]", "")  # no path of a format is like this
        if wanted in _ADDRESSES:
            return with_texts(plain, *TEXTS[wanted])
        return text(plain) if wanted == "text" else hexadecimal(plain) if wanted == "hex" else plain

    def _plain(self, layout: Layout, path: str, tag: str) -> Codec:
        if layout.kind == "array":
            return self._array(layout, path, tag)
        if layout.kind in ("struct", "union", "datasec"):
            return self._structure(layout, path)
        if layout.kind == "int":
            return self._number(layout)
        if layout.kind == "float" and layout.size in (4, 8):
            return floating(layout.size, self._order)
        return opaque(layout.size, _CANNOT + {"ptr": "a pointer"}.get(layout.kind, layout.kind))

    def _array(self, layout: Layout, path: str, tag: str) -> Codec:
        element = layout.members[0].layout
        if not element.size and layout.length > _LONGEST_OF_NOTHING:
            return opaque(0, f"{_CANNOT}an array of {layout.length} times nothing")
        return array(self.compiled(element, path, tag), layout.length, self._order, bool(self._element(layout)))

    def _number(self, layout: Layout) -> Codec:
        order, each = layout.order or self._order, self._types.type(layout.number)
        if layout.size not in _SIZES:
            raise ValueError(f"BTF has a number of {layout.size} B")
        if each.kind == "int":
            encoding = self._types.words(each.rest, 1)[0]
            if encoding & 0xFFFFFF != 8 * layout.size:
                return opaque(layout.size, f"{_CANNOT}a number of {encoding & 0xFF} bits")
            if not encoding & _BOOL:
                return plain_integer(layout.size, layout.signed, order, self._order)
        return whole_number(self._bits(layout, 8 * layout.size), layout.size, order)

    def _bits(self, layout: Layout, bits: int) -> Number:
        each = self._types.type(layout.number)
        if each.kind == "int":
            return boolean() if self._types.words(each.rest, 1)[0] & _BOOL else integer(bits, layout.signed)
        return enumeration(bits, layout.signed, dict(self._names(each)))

    def _names(self, each: Type) -> t.Iterator[t.Tuple[str, int]]:
        if each.kind == "enum" and each.target < 8:  # clang 14 has cut the values of those of 64 bits
            for at in range(each.rest, each.rest + 8 * each.members, 8):
                name, value = self._types.words(at, 2)
                yield self._types.string(name), value - (value >> 31 << 32)
        elif each.kind == "enum64":
            for at in range(each.rest, each.rest + 12 * each.members, 12):
                name, low, high = self._types.words(at, 3)
                value = high << 32 | low
                yield self._types.string(name), value - (value >> 63 << 64 if each.flag else 0)

    def _structure(self, layout: Layout, path: str) -> Codec:
        number = layout.number
        places = [
            self._place(each, path, 8 * layout.size)
            for each in layout.members
            if each.name and self._types.type(each.layout.number).name not in _HIDDEN
        ]
        return structure(self._types.type_name(number), layout.size, places, self._order, self._whole)

    def _place(self, member: Member, path: str, end: int) -> Place:
        width = member.bits or 8 * member.layout.size
        if member.offset + width > end or (not member.bits and member.offset % 8):
            raise ValueError(f"BTF has a member {member.name} outside of its struct")
        if not member.bits:
            inner = self.compiled(member.layout, f"{path}.{member.name}", member.tag)
            return Place(member.name, member.offset, width, inner)
        if member.layout.kind != "int" or member.bits > 8 * member.layout.size:
            raise ValueError(f"BTF has a bit field {member.name} of {member.layout}")
        return Place(member.name, member.offset, width, number=self._bits(member.layout, member.bits))

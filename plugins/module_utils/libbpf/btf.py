# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF type information: types, and how C writes them. Documentation/bpf/btf.rst in the kernel."""

from __future__ import annotations

import struct
import typing as t

_KINDS = (
    "void int ptr array struct union enum fwd typedef volatile const restrict func func_proto var datasec float"
    " decl_tag type_tag enum64"
).split()
# Bytes that follow struct btf_type: once, or for each of its members.
_ONCE = {"int": 4, "array": 12, "var": 4, "decl_tag": 4}
_EACH = {"struct": 12, "union": 12, "enum": 8, "func_proto": 8, "datasec": 12, "enum64": 12}


class Type(t.NamedTuple):
    name: str
    kind: str
    flag: bool
    target: int  # or, for types that have one, the size
    members: int
    rest: int  # offset of the data that follows struct btf_type


def read_btf(data: bytes) -> t.Optional[Btf]:
    """None if there is no BTF, or it has kinds of types that are newer than this file."""
    try:
        return Btf(data) if data else None
    except ValueError:
        return None


class Btf:
    """Raises ValueError if the data is not BTF, or has kinds of types that are newer than this file; the methods too,
    if a type is damaged. The data may be in either byte order.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = ">" if data[:2] == b"\xeb\x9f" else "<"
        try:
            magic, _version, _flags, header, type_offset, type_size, string_offset, string_size = struct.unpack_from(
                f"{self._order}HBBIIIII", data
            )
        except struct.error as error:
            raise ValueError(f"this is not BTF: {error}") from error
        if magic != 0xEB9F:
            raise ValueError(f"this is not BTF: it begins with 0x{magic:04x}")
        self._strings = data[header + string_offset : header + string_offset + string_size]
        self.types = [Type("", "void", False, 0, 0, 0)]
        at, end = header + type_offset, header + type_offset + type_size
        while at < end:
            name, info, target = self.words(at, 3)
            number, members = info >> 24 & 0x1F, info & 0xFFFF
            if number >= len(_KINDS):
                raise ValueError(f"BTF kind {number} is not supported")
            kind = _KINDS[number]
            rest = at + 12
            self.types.append(Type(self.string(name), kind, bool(info >> 31), target, members, rest))
            at = rest + _ONCE.get(kind, 0) + _EACH.get(kind, 0) * members

    def string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        return self._strings[offset : end if end >= 0 else None].decode(errors="replace")

    def words(self, offset: int, count: int) -> t.Tuple[int, ...]:
        """Numbers of 32 bits in the data that follows a type."""
        try:
            return struct.unpack_from(f"{self._order}{count}I", self._data, offset)
        except struct.error as error:
            raise ValueError(f"BTF is truncated: {error}") from error

    def type(self, number: int) -> Type:
        if not 0 <= number < len(self.types):
            raise ValueError("BTF refers to a type that does not exist")
        return self.types[number]

    def function(self, number: int) -> str:
        """The name of a function by its type's number."""
        return self.types[number].name

    def type_name(self, number: int) -> str:
        """A type as C writes it: `struct flow_key`, `__be32`, `char[16]`."""
        return self._written(number).rstrip()

    def signature(self, number: int) -> str:
        """A function as bpftool prints it above its code: `int packet_count(struct xdp_md * ctx)`."""
        return self._written(number).rstrip()

    def _written(self, number: int, depth: int = 0) -> str:
        each = self.type(number)
        if depth > 32:  # no type of a program's function is nested so deeply: this data contains a cycle
            raise ValueError("BTF has a type that contains itself")
        if each.kind in ("struct", "union", "enum", "enum64"):
            return f"{each.kind.replace('64', '')} {each.name or '{…}'} "
        if each.kind == "fwd":
            return f"{'union' if each.flag else 'struct'} {each.name} "
        if each.kind in ("volatile", "const", "restrict"):
            return f"{each.kind} {self._written(each.target, depth + 1)}"
        if each.kind == "type_tag":
            return self._written(each.target, depth + 1)
        if each.kind == "ptr":
            return f"{self._written(each.target, depth + 1)}* "
        if each.kind == "array":
            element, _index, count = self.words(each.rest, 3)
            # The lengths of an array of arrays follow each other, the outermost first.
            written, begin, inner = self._written(element, depth + 1).partition("[")
            return f"{written.rstrip()}[{count}]{begin}{inner}"
        if each.kind == "func":
            return self._prototype(self.type(each.target), each.name, depth + 1)
        if each.kind == "func_proto":
            return self._prototype(each, "", depth + 1)
        return f"{each.name or each.kind} "

    def _prototype(self, prototype: Type, name: str, depth: int) -> str:
        arguments = []
        for at in range(prototype.rest, prototype.rest + 8 * prototype.members, 8):
            argument, number = self.words(at, 2)
            written = self._written(number, depth) + self.string(argument) if number else "..."
            arguments.append(written.rstrip())
        return f"{self._written(prototype.target, depth)}{name}({', '.join(arguments)})"

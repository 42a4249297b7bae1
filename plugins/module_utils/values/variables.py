# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The global variables of an object, and which of them can be set."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..libbpf.layouts import Layouts, Member

_QUALIFIERS = ("const", "volatile", "restrict", "typedef", "type_tag")
_STATIC = 0  # BTF_VAR_STATIC
# Sections that are not global data: what libbpf and the kernel read from the object.
_OTHERS = (".maps", ".kconfig", ".ksyms", "license", "version")


class Variable(t.NamedTuple):
    """`member` has name, offset, layout and tag. `size` in bytes. `folded`: clang has put its value into the code."""

    section: str
    member: Member
    size: int
    static: bool
    folded: bool
    type_name: str

    @property
    def refused(self) -> str:
        """Why it cannot be set, and what to write in the source; empty if it can be."""
        name = self.member.name
        if self.static:
            return f"{name} is static: its name may be there more than once, so write it without static in the source"
        if self.folded:
            return (
                f"{name} is const, so clang has put its value into the code and setting it would do nothing; declare it"
                " const volatile in the source"
            )
        return ""


def variables(types: Layouts) -> t.Iterator[Variable]:
    """Of all sections of global data. clang writes zeroes as offsets, libbpf fills them in when it opens the object.

    Raises ValueError if the BTF is damaged.
    """
    for section, number in types.sections():
        if section in _OTHERS or section.startswith((".struct_ops", "struct_ops")):
            continue
        each, layout = types.type(number), types.layout(number)
        for index, member in enumerate(layout.members):
            variable, _offset, size = types.words(each.rest + 12 * index, 3)
            found = types.type(variable)
            if found.kind == "var":
                linkage = types.words(found.rest, 1)[0]
                yield Variable(
                    section,
                    member,
                    size,
                    linkage == _STATIC,
                    _is_folded(types, found.target),
                    types.type_name(found.target),
                )


def _is_folded(types: Layouts, number: int) -> bool:
    """Whether it is const and not volatile. Qualifiers of an array are those of its elements."""
    qualifiers = set()
    each = types.type(number)
    while each.kind in _QUALIFIERS or each.kind == "array":  # layout() has found out that they do not go in circles
        qualifiers.add(each.kind)
        each = types.type(types.words(each.rest, 1)[0] if each.kind == "array" else each.target)
    return "const" in qualifiers and "volatile" not in qualifiers

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps as the source defines them, in BTF. bpf_helpers.h of libbpf."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from .kinds import MAP_TYPES, MAPS_OF_MAPS, MapShape, named
from .layouts import Layouts

_SECTION = ".maps"


class Definition(t.NamedTuple):
    """A map as the source defines it. The types are numbers in the BTF, 0 where it only gives sizes.

    `struct` is the number of the definition's own type, `inner` that of the maps in it, 0 if it is no map of maps.
    """

    struct: int
    shape: MapShape
    key: int = 0
    value: int = 0
    inner: int = 0


def definitions(types: Layouts) -> t.Dict[str, Definition]:
    """The maps of a program, by name. Raises ValueError for damaged BTF."""
    section = types.section(_SECTION)
    return {each.name: definition(types, each.layout.number) for each in section.members} if section else {}


def inner_maps(known: t.Mapping[str, Definition]) -> t.Dict[str, str]:
    """The maps that are defined as those in the slots of a map of maps, and the name of that."""
    outer = {each.inner: name for name, each in known.items() if each.inner}
    return {name: outer[each.struct] for name, each in known.items() if each.struct in outer}


def definition(types: Layouts, struct: int) -> Definition:
    """As __uint(), __type() and __array() of bpf_helpers.h write it."""
    targets: t.Dict[str, int] = {}
    each = types.type(struct)
    for at in range(each.rest, each.rest + 12 * each.members, 12):
        name, target, _offset = types.words(at, 3)
        targets[types.string(name)] = target

    def pointed(number: int) -> int:
        return types.type(number).target if types.type(number).kind == "ptr" else 0

    def elements(number: int) -> t.Tuple[int, int]:
        """The type of an array's elements, and how many there are."""
        found = types.type(number)
        if found.kind != "array":
            raise ValueError("a map is not defined as bpf_helpers.h does it")
        element, _index, count = types.words(found.rest, 3)
        return element, count

    def count(name: str) -> int:
        return elements(pointed(targets[name]))[1] if name in targets else 0

    key, value = (pointed(targets[name]) if name in targets else 0 for name in ("key", "value"))
    kind = named(MAP_TYPES, count("type"))
    return Definition(
        struct,
        MapShape(
            kind,
            types.layout(key).size if key else count("key_size"),
            types.layout(value).size if value else count("value_size"),
            count("max_entries"),
            count("map_flags"),
            count("map_extra"),
        ),
        key,
        value,
        pointed(elements(targets["values"])[0]) if kind in MAPS_OF_MAPS and "values" in targets else 0,
    )

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a program that a task sets, encoded by the object's BTF before anything is planned.

Constants (const volatile, in .rodata) are part of the program: another value means another program, which is swapped in
the link. The others lie in maps of global data, and are written in place.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..entries.difference import masked
from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import RDONLY_PROG
from ..libbpf.layouts import Layouts
from ..libbpf.objects import open_object
from ..objects.image import Image
from ..state.places import escape, shortened
from ..values.codec import codec
from ..values.refused import listed
from ..values.variables import Variable
from ..values.variables import variables as variables_in
from .declared import Setting
from .observe import Seen
from .steps import SetVariables, Value

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf


def sizes_of(image: Image, given: t.Mapping[str, t.Any]) -> t.Dict[str, int]:
    """max_entries of maps, by name. Raises FleetError for a map that the object does not have."""
    known = [each.name for each in image.facts.maps if not each.internal]
    for name, entries in given.items():
        if name not in known:
            names = listed(sorted(known))
            raise FleetError(f"map_sizes: {image.facts.path} has no map {shortened(name)}; it has {names}")
        if not str(entries).isdecimal() or not 0 < int(entries) < 1 << 32:
            raise FleetError(f"map_sizes: {entries!r} entries for {name}: give a number from 1 to {(1 << 32) - 1}")
    return {name: int(entries) for name, entries in given.items()}


def with_sizes(image: Image, sizes: t.Mapping[str, int]) -> Image:
    facts = image.facts
    maps = [
        each._replace(shape=each.shape._replace(max_entries=sizes[each.name])) if each.name in sizes else each
        for each in facts.maps
    ]
    return image._replace(facts=facts._replace(maps=tuple(maps)))


def settings_of(lib: "Libbpf", image: Image, variables: t.Mapping[str, t.Any]) -> t.Tuple[Setting, ...]:
    """`variables`: values by name. Raises FleetError for one that the object does not have, or that cannot have it."""
    facts = image.facts
    with open_object(lib, image.content, facts.name) as opened:
        btf = opened.btf
    if not btf:
        raise FleetError(f"{facts.path} has no BTF, which says where its variables are: compile it with -g")
    types = Layouts(btf)
    known = {each.member.name: each for each in variables_in(types)}
    return tuple(_setting(image, types, known, name, value) for name, value in variables.items())


def _setting(image: Image, types: Layouts, known: t.Mapping[str, Variable], name: str, given: t.Any) -> Setting:
    found = known.get(name)
    if not found:
        names = listed(sorted(known))
        raise FleetError(f"variables: {image.facts.path} has no variable {shortened(name)}; it has {names}")
    if found.refused:
        raise FleetError(f"variables: {found.refused}")
    pin, offset = escape(found.section), found.member.offset // 8
    made = codec(types, found.member.layout, name, tag=found.member.tag)
    data, mask = made.part(given)
    section = image.first_value(pin)
    value = made.decode(masked(section[offset : offset + made.size], data, mask))
    constant = bool(image.facts.all_maps[pin].shape.flags & RDONLY_PROG)
    return Setting(name, pin, offset, data, mask, value, constant, made.decode)


def set_variables(settings: t.Iterable[Setting], seen: Seen, maps: t.Mapping[str, MapInfo]) -> t.Iterator[SetVariables]:
    """The steps after which a running program's variables have these values. Pure."""
    by_pin: t.Dict[str, t.List[Setting]] = {}
    for each in settings:
        if not each.constant:
            by_pin.setdefault(each.pin, []).append(each)
    for pin, mine in by_pin.items():
        info = maps.get(pin) or seen.maps[pin]
        data = seen.contents[info.id].data
        values: t.List[Value] = []
        for each in mine:
            each.check_known(data)
            changes = [Value(each.name, *change, each.text) for change in each.changes(data)]
            if changes:
                each.check_writable(info)
                values += changes
        if values:
            yield SetVariables(pin, info.id, len(data), tuple(values), declared=True)

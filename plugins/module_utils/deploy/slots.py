# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps in the slots of a map of maps: those that the source puts there, and those that a task declares.

A program looks into what is in the slot, whatever is pinned. So a new map in the place of one that the source puts
there would be without effect, and so is what is written into it once something else is in the slot.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import sys
import typing as t

from ..entries import writing
from ..entries.difference import Difference
from ..entries.slot_keys import key_of_slot, slot_text, value_of_slot
from ..errors import FleetError
from ..libbpf import slots
from ..libbpf.definitions import Definition, definition, definitions, inner_maps
from ..libbpf.elements import Elements
from ..libbpf.info import MapInfo, map_info
from ..libbpf.kinds import MAPS_OF_MAPS, as_made
from ..libbpf.layouts import Layouts
from ..libbpf.library import Libbpf
from ..libbpf.objects import open_object
from ..objects.image import Image
from ..state.places import is_file_name, map_pin, unescape
from .contents import filled_slots, ids_in_slots
from .declared import Filling, InSlot


class OpenSlot(t.NamedTuple):
    """A slot of an open map of maps. `there`: the map in it, -1 if it is empty; `like`: what a new one is like."""

    name: str
    outer: int
    key: bytes
    there: int
    like: MapInfo


def swap_in(lib: Libbpf, slot: OpenSlot, made: Difference, undo: t.Callable[..., t.Any]) -> None:
    """Put a new map with these entries into the slot. Each program looks either into it, or into the one before."""
    with slots.make_like(lib, slot.like) as new:
        writing.write(slot.name, Elements(lib, new, slot.like.shape), slot.like.shape, made)
        if slot.there < 0:
            undo(slots.clear, lib, slot.outer, slot.key)
        else:
            undo(slots.put, lib, slot.outer, slot.key, slot.there)
        slots.put(lib, slot.outer, slot.key, new)


def maps_in_slots(lib: Libbpf, fillings: t.Iterable[Filling], maps: t.Mapping[str, MapInfo]) -> t.Dict[str, MapInfo]:
    """Those whose entries are declared, by the pin of the slot. `maps`: those that are there, by pin."""
    found = {}
    for each in fillings:
        if each.slot and each.slot.outer in maps:
            with lib.map_by_id(maps[each.slot.outer].id) as outer:
                number = slots.id_in(lib, outer, each.slot.key)
            if number:
                with lib.map_by_id(number) as inner:
                    found[each.pin] = map_info(lib, inner)
    return found


def slot_in_task(image: Image, types: t.Optional[Layouts], name: str, value: t.Any) -> InSlot:
    """`value`: its key, as in map_entries. Raises FleetError if there is no such slot, or the source fills it."""
    shape = image.facts.shared_maps[map_pin(name)].shape
    if shape.type not in MAPS_OF_MAPS:
        raise FleetError(f"{name} is a map of type {shape.type}, which has no slots: leave out slot")
    defined = defined_maps(types).get(name)
    like = by_source(types, 0, name)
    if not defined or not like:
        raise FleetError(f"no BTF says what belongs into the slots of {name}: compile with -g")
    slot = InSlot(map_pin(name), key_of_slot(name, shape, types, defined.key, value), slot_text(value), like)
    if int.from_bytes(slot.key, sys.byteorder) in filled_slots(image, types, name):
        raise FleetError(
            f"the source itself puts a map into {slot}: declare the entries under the name of that map. Only"
            " ebpf.fleet.bpf_map with slot and replace: at_once puts a different one there"
        )
    if not is_file_name(slot.pin):
        raise FleetError(f"the key of {slot} is too long to be kept for a reboot: use ebpf.fleet.bpf_map")
    return slot


def slot_in_object(lib: Libbpf, image: Image, outer: str, key: bytes) -> t.Optional[InSlot]:
    """A slot whose entries were kept. None if the object has no such slot."""
    found = image.facts.shared_maps.get(outer)
    with open_object(lib, image.content, image.facts.name) as opened:
        btf = opened.btf
    types = Layouts(btf) if btf else None
    defined, like = defined_maps(types).get(unescape(outer)), by_source(types, 0, unescape(outer))
    if not found or not defined or not like or len(key) != found.shape.key_size:
        return None
    return InSlot(outer, key, slot_text(value_of_slot(found.shape, types, defined.key, key)), like)


def by_source(types: t.Optional[Layouts], btf_id: int, name: str) -> t.Optional[MapInfo]:
    """What the source puts into the slots of the map of that name, with the id 0; None if no BTF says that."""
    defined = defined_maps(types).get(name)
    if not types or not defined or not defined.inner:
        return None
    inner = definition(types, defined.inner)
    return MapInfo(0, name, as_made(inner.shape, cpus=1), btf_id, inner.key, inner.value)


def defined_maps(types: t.Optional[Layouts]) -> t.Mapping[str, Definition]:
    """As the source defines them. Empty without BTF, or with damaged BTF."""
    try:
        return definitions(types) if types else {}
    except ValueError:
        return {}


def outer_maps(types: t.Optional[Layouts]) -> t.Dict[str, str]:
    """By the name of a map that is in a slot, that of the map of maps. Empty without BTF, or with damaged BTF."""
    return inner_maps(defined_maps(types))


def check_slots(
    lib: Libbpf,
    image: Image,
    interface: str,
    there: t.Mapping[str, MapInfo],
    filled: t.Iterable[str],
    resized: t.Iterable[str],
) -> None:
    """Raises FleetError if a map that is to be filled, or to be replaced by one of a different size, is in a slot.

    `there`: the maps that are kept, by pin; the others are pins. A map that is to be filled may be in its slot still.
    """
    if not any(each.shape.type in MAPS_OF_MAPS for each in image.facts.maps):
        return
    with open_object(lib, image.content, image.facts.name) as opened:
        btf = opened.btf
        outer = outer_maps(Layouts(btf) if btf else None)
    for pin in filled:
        name = unescape(pin)
        if name in outer and pin in there and map_pin(outer[name]) in there:
            check_in_slot(lib, f"{name} on {interface}", there[pin], outer[name], there[map_pin(outer[name])])
    for name in map(unescape, resized):
        if name in outer:
            raise FleetError(
                f"{name} on {interface} lies in a slot of {outer[name]}, where a map of a different size would not get:"
                " leave its size as it is, or set maps: reset"
            )


def check_in_slot(lib: Libbpf, what: str, inner: MapInfo, name: str, outer: MapInfo) -> None:
    """Raises FleetError if a map is in no slot of the map of maps of that name."""
    with lib.map_by_id(outer.id) as fd:
        if inner.id in ids_in_slots(lib, fd, outer):
            return
    raise FleetError(
        f"{what} is in no slot of {name} any more, so no program looks into it: fill what is in the slot, with map:"
        f" {name} and slot of ebpf.fleet.bpf_map"
    )

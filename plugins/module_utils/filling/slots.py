# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map in a slot of a map of maps, or what would be put there."""

from __future__ import annotations

import contextlib
import typing as t

from ..deploy.observe import Seen
from ..deploy.slots import by_source, check_in_slot, defined_maps, outer_maps
from ..entries.slot_keys import key_of_slot, slot_text
from ..errors import FleetError
from ..libbpf import slots
from ..libbpf.info import MapInfo, map_info, program_info, read_pin
from ..libbpf.kinds import MAPS_OF_MAPS
from ..libbpf.layouts import Layouts
from ..libbpf.library import Libbpf
from ..state.places import Place, is_file_name, map_pin, slot_pin
from .opened import Named, Slot, types_of


def in_slot(lib: Libbpf, outer: Named, value: t.Any, held: contextlib.ExitStack) -> Named:
    """`value`: the slot, as the task has it. `held` closes the map. Raises FleetError if there can be no such slot."""
    if outer.info.shape.type not in MAPS_OF_MAPS:
        raise FleetError(f"{outer} is a map of type {outer.info.shape.type}, which has no slots: leave out slot")
    program = read_pin(lib, outer.place.program, "prog", program_info) if outer.place else None
    btf_id = program.btf_id if program else 0
    types = types_of(lib, btf_id)
    defined = defined_maps(types).get(outer.name)
    key = key_of_slot(str(outer), outer.info.shape, types, defined.key if defined else 0, value)
    slot = Slot(outer.fd, key, slot_text(value), slot_pin(map_pin(outer.name), key))
    like = by_source(types, btf_id, outer.name)
    number = slots.id_in(lib, outer.fd, slot.key)
    if number:
        fd = held.enter_context(lib.map_by_id(number))
        info = map_info(lib, fd)
        if outer.place:
            slot = slot._replace(pinned=_pinned(lib, outer.place, types, outer.name, number))
        slot = slot._replace(obstacle=_obstacle(slot, info, like))
        return outer._replace(fd=fd, info=info, types=types_of(lib, info.btf_id), slot=slot)
    if not like:
        raise FleetError(
            f"slot {slot.text} of {outer} is empty, and no BTF says what belongs into it: put a map into it first"
        )
    return outer._replace(fd=-1, info=like, types=types, slot=slot._replace(obstacle=_obstacle(slot, like, like)))


def _pinned(lib: Libbpf, place: Place, types: t.Optional[Layouts], outer: str, number: int) -> str:
    """The pin of the map with that id, if the source put it into the slot; else ""."""
    for pin in (map_pin(name) for name, its in outer_maps(types).items() if its == outer):
        found = read_pin(lib, place.map(pin), "map", map_info)
        if found and found.id == number:
            return pin
    return ""


def _obstacle(slot: Slot, info: MapInfo, like: t.Optional[MapInfo]) -> str:
    """Why a map as the source defines it, which a reboot restores, could not have these entries; "" if it can."""
    if not like:
        return "no BTF says what belongs into the slot"
    if info.shape.max_entries > like.shape.max_entries:
        return (
            f"the map in it has room for {info.shape.max_entries} entries, and one as the source defines it for"
            f" {like.shape.max_entries}"
        )
    return "" if is_file_name(slot.pin) else "its key is too long for the name of a file"


def check_in_its_slot(lib: Libbpf, found: Named, seen: Seen) -> None:
    """Raises FleetError if the source puts this map into a slot, and there is a different one now."""
    outer = outer_maps(types_of(lib, seen.running.btf_id) if seen.running else None).get(found.name)
    if outer and map_pin(outer) in seen.maps:
        check_in_slot(lib, str(found), found.info, outer, seen.maps[map_pin(outer)])

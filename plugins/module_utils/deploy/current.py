# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted beside what is there: whether that is the wanted program, and whether there is anything to plan. Pure.

Apart from plan.py, as most runs find nothing to do, and a target compiles what it imports.
"""

from __future__ import annotations

import typing as t

from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MapShape, as_made
from ..state.deployed import Deployed
from ..state.places import map_pin, unescape
from .observe import PLAIN_MTU, Seen
from .request import Wanted

if t.TYPE_CHECKING:
    from ..sharing.config import Slot

FRAGS_TWIN = "_frags"

Shapes = t.Mapping[str, MapShape]  # by pin


def is_unchanged(wanted: Wanted, seen: Seen) -> bool:
    """Whether a plan would have no step and no warning. False does not say that it would have any."""
    record, ours = seen.known, seen.ours
    if wanted.state != "attached" or wanted.settings or wanted.fillings or concerns_sharing(wanted, seen):
        return False
    if seen.former or seen.others or seen.leftovers or not record or not ours or not seen.ifindex or ours.elsewhere:
        return False
    if not seen.attached or not mode_fits(wanted, seen, seen.mode) or record.deployed.mode != wanted.mode:
        return False
    if not wanted.object.programs or not seen.pinned or seen.pinned.id != record.program_id:
        return False
    shapes = shapes_of(wanted)
    held, target = held_maps(seen, shapes), target_of(wanted, seen)
    if seen.maps.keys() != shapes.keys() or any(seen.maps[pin].id != each.id for pin, each in held.items()):
        return False
    return is_current(wanted, seen, target, shapes, held, shared=False) and _restored_as_now(wanted, seen, target)


def _restored_as_now(wanted: Wanted, seen: Seen, target: Deployed) -> bool:
    if not seen.persistence:
        return True
    from .restoring import plan_restoring  # imported here, because a target compiles what it imports

    try:
        _persistent, steps, warnings = plan_restoring(wanted, seen, target, live=True)
    except FleetError:  # the plan says why
        return False
    return not steps and not warnings


def shapes_of(wanted: Wanted) -> Shapes:
    return {pin: as_made(each.shape, wanted.cpus) for pin, each in wanted.object.shared_maps.items()}


def target_of(wanted: Wanted, seen: Seen, slot: t.Optional[Slot] = None) -> Deployed:
    source = wanted.object
    constants = {each.name: each.value for each in wanted.settings if each.constant}
    program = program_for(wanted, seen)
    sharing: t.Dict[str, t.Any] = {}
    if slot:
        sharing = {"priority": slot.priority, "chain_call_actions": list(slot.actions)}
    return Deployed(source.path, source.checksum or "", program, wanted.mode, constants, wanted.sizes, sharing)


def program_for(wanted: Wanted, seen: Seen) -> str:
    """The program, or with a jumbo MTU its twin for packets of several buffers, if the object has one."""
    if not wanted.object.programs:
        return wanted.program or wanted.name
    name = wanted.object.xdp_program(wanted.program)
    twin = name + FRAGS_TWIN
    has_twin = any(p.xdp and p.name == twin and p.section == "xdp.frags" for p in wanted.object.programs)
    return twin if has_twin and wanted.frags and seen.mtu > PLAIN_MTU else name


def concerns_sharing(wanted: Wanted, seen: Seen) -> bool:
    """Whether a dispatcher is wanted or there, or the program is loaded for one."""
    ours = seen.ours is not None and seen.ours.dispatcher is not None
    known = seen.known is not None and bool(seen.known.deployed.sharing)
    return wanted.dispatcher == "always" or ours or known or any(hook.dispatcher for hook in seen.others)


def shares_now(wanted: Wanted, seen: Seen) -> bool:
    if not concerns_sharing(wanted, seen):
        return False
    from .sharing import shares  # imported here, because a target compiles what it imports

    return shares(wanted, seen)


def is_current(
    wanted: Wanted, seen: Seen, target: Deployed, shapes: Shapes, held: t.Mapping[str, MapInfo], shared: bool
) -> bool:
    """Whether the wanted program is already loaded, and all its maps can be pinned. shared: it is for a dispatcher."""
    known = seen.known and seen.known.deployed
    if not known or known.checksum != (wanted.object.checksum or None):
        return False
    if not wanted.object.programs:
        return True
    # Path, mode and place among others need no other program, but one in a dispatcher is of another type. All else that
    # is deployed, also what later releases add to it, does.
    same = known == target._replace(object=known.object, mode=known.mode, sharing=known.sharing)
    if bool(known.sharing) != shared:
        return False
    # A missing map may be used only by a different program, which this one calls: load again.
    return same and all(pin in held or pin in seen.maps for pin in shapes)


def held_maps(seen: Seen, pins: t.Iterable[str]) -> t.Dict[str, MapInfo]:
    """The maps of the running program by pin: as pinned, else by name, of which the kernel keeps 15 characters."""
    found = {pin: seen.maps[pin] for pin in pins if pin in seen.maps and seen.maps[pin].id in seen.held}
    rest = [info for info in seen.held.values() if info not in found.values()]
    for pin in pins:
        named = [info for info in rest if unescape(map_pin(info.name)) == unescape(pin)[:15]]
        if pin not in found and len(named) == 1:
            found[pin] = named[0]
    return found


def mode_fits(wanted: Wanted, seen: Seen, mode: t.Optional[str]) -> bool:
    if wanted.mode != "auto":
        return mode == wanted.mode
    return mode == "native" or not seen.known or seen.known.deployed.mode == "auto"

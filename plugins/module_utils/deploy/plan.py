# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second step: make a list of steps from the wanted and the observed state. Pure: reads and changes nothing.

removal.py detaches and removes programs, upgrade.py has what an upgrade keeps, restoring.py what follows a reboot.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach import ways
from ..attach.hooks import Attachment, Hook
from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MapShape, as_made
from ..state.deployed import Deployed
from ..state.places import NEW, map_pin, unescape
from .observe import PLAIN_MTU, Seen
from .planned import Plan, describe, with_others
from .request import Wanted
from .steps import (
    Adopt,
    Attach,
    Detach,
    Evict,
    Load,
    Move,
    Note,
    PinMap,
    PinProgram,
    Step,
    Swap,
    Unpin,
)

if t.TYPE_CHECKING:
    from .upgrade import Upgrade

FRAGS_TWIN = "_frags"
_FORMER_SWITCH = ".data.trace"  # where packet_count of the previous release has its switch, which counts nothing

Shapes = t.Mapping[str, MapShape]  # by pin


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Plan one interface. Raises FleetError if the wanted state is impossible or not allowed there."""
    if wanted.state in ("absent", "detached"):
        from .removal import plan_absent, plan_detached  # imported here, because a target compiles what it imports

        made = plan_absent(seen) if wanted.state == "absent" else plan_detached(seen)
    else:
        made = _plan_present(wanted, seen)
    return made._replace(steps=(Move(seen.former), *made.steps)) if seen.former else made


def _plan_present(wanted: Wanted, seen: Seen) -> Plan:
    if not seen.ifindex:
        raise FleetError(f"there is no interface {seen.interface} on this host; `ip link` lists the existing ones")
    if seen.ours and seen.ours.elsewhere:
        raise FleetError(
            f"cannot deploy {wanted.name} on {seen.interface}: what is pinned in {seen.place.folder} is attached to"
            f" interface {seen.ours.ifindex} of a different network namespace, and counts there. Either the interface"
            f" was moved: move it back, or remove the program from it first with state: absent and interfaces:"
            f" [{seen.interface}]. Or an older release deployed it in a container that shares this bpffs: deploy"
            f" it there once more, which moves its pins"
        )
    attach = wanted.state == "attached"
    unpinned = _unpinned(seen.pinned.id, seen.others) if attach and not seen.ours and seen.pinned else None
    others = tuple(hook for hook in seen.others if not (unpinned and hook is unpinned[1]))
    if attach and others and not wanted.replace:
        raise FleetError(
            f"cannot attach {wanted.name} to {seen.interface}: it already runs {_and(others)}, {_remedy(others[0])}"
        )
    source = wanted.object
    shapes = _shapes(wanted)
    held = _held_maps(seen, shapes)
    target = _target(wanted, seen)
    current = _is_current(wanted, seen, target, shapes, held)
    upgrade = None if current else _upgrade(wanted, seen, shapes, held)
    live = attach or seen.attached
    if live and not attach and seen.known:
        target = target._replace(mode=seen.known.deployed.mode)  # state loaded: it stays attached as it is

    # Half-made pins of a killed run are removed last: one may be all that holds a link until the link is pinned again.
    steps: t.List[Step] = [Unpin(path) for path in seen.leftovers if not path.endswith(NEW)]
    steps += _repair(seen, shapes, held) if current else _load(wanted, target.program, shapes, upgrade)
    if live:
        steps += _attach(wanted, seen, others, unpinned, current)
    elif seen.ours:
        steps.append(Detach(seen.ours))
    if source.programs:
        steps += [Unpin(seen.place.map(pin)) for pin in sorted(seen.maps) if pin not in shapes]
    steps += [Unpin(path) for path in seen.leftovers if path.endswith(NEW)]
    steps += _note(seen, target, current)
    warnings = (*_warnings(wanted, seen, shapes), *(upgrade.warnings if upgrade else ()))
    persistent = False
    if seen.persistence:
        from .restoring import plan_restoring  # imported here, because a target compiles what it imports

        persistent, more, warning = plan_restoring(wanted, seen, target, live)
        steps += more
        warnings += warning
    if not steps:
        before = describe(seen)
        return Plan(seen, (), before, before, warnings)

    kept = upgrade.keep if upgrade else held if current else {}
    after: t.Dict[str, t.Any] = {
        "state": "attached" if live else "detached",
        "mode": target.mode,
        "program": target.program,
        "checksum": target.checksum or "unknown until the object exists",
        "maps": {unescape(pin): str(kept[pin].shape if pin in kept else shapes[pin]) for pin in sorted(shapes)},
        "pins": sorted({"program", *(f"maps/{unescape(pin)}" for pin in shapes), *(["link"] if live else [])}),
    }
    if live:
        after["ifindex"] = seen.ifindex
    if persistent:
        after["persistent"] = True
    spared = () if attach else seen.others
    return Plan(seen, tuple(steps), describe(seen), with_others(after, seen, spared), warnings)


def keeps_maps(wanted: Wanted, seen: Seen) -> bool:
    """Whether a program would be loaded that takes over maps: then their contents must be observed."""
    if wanted.reset_maps or not wanted.object.programs or not (seen.held or seen.maps):
        return False
    shapes = _shapes(wanted)
    return not _is_current(wanted, seen, _target(wanted, seen), shapes, _held_maps(seen, shapes))


def _shapes(wanted: Wanted) -> Shapes:
    return {pin: as_made(each.shape, wanted.cpus) for pin, each in wanted.object.shared_maps.items()}


def _target(wanted: Wanted, seen: Seen) -> Deployed:
    source = wanted.object
    return Deployed(source.path, source.checksum or "", _program_for(wanted, seen), wanted.mode)


def _unpinned(program_id: int, here: t.Sequence[Hook]) -> t.Optional[t.Tuple[str, Hook]]:
    """Our program on an interface, if its pin is gone: the way by which it is attached, and its hook."""
    for name in ways.NAMES:
        found = ways.way(name).unpinned(program_id, here)
        if found:
            return name, found
    return None


def _is_current(wanted: Wanted, seen: Seen, target: Deployed, shapes: Shapes, held: t.Mapping[str, MapInfo]) -> bool:
    """Whether the wanted program is already loaded, and all its maps can be pinned."""
    known = seen.known and seen.known.deployed
    if not known or known.checksum != (wanted.object.checksum or None):
        return False
    if not wanted.object.programs:
        return True
    # Path and mode need no other program. All else that is deployed, also what later releases add to it, does.
    same = known == target._replace(object=known.object, mode=known.mode)
    # A missing map may be used only by a different program, which this one calls: load again.
    return same and all(pin in held or pin in seen.maps for pin in shapes)


def _upgrade(wanted: Wanted, seen: Seen, shapes: Shapes, held: t.Mapping[str, MapInfo]) -> "t.Optional[Upgrade]":
    if wanted.reset_maps or not (held or seen.maps):
        return None
    from .upgrade import plan_upgrade  # imported here, because a target compiles what it imports

    return plan_upgrade(wanted, seen, shapes, held)


def _load(wanted: Wanted, program: str, shapes: Shapes, upgrade: "t.Optional[Upgrade]") -> t.Iterator[Step]:
    reuse = {pin: info.id for pin, info in upgrade.keep.items()} if upgrade else {}
    fresh = tuple(pin for pin in sorted(shapes) if pin not in reuse)
    yield Load(program, reuse, fresh, wanted.mode == "offload", upgrade.begin if upgrade else {})
    yield from upgrade.steps if upgrade else ()


def _repair(seen: Seen, shapes: Shapes, held: t.Mapping[str, MapInfo]) -> t.Iterator[Step]:
    """Restore missing pins of the running program and its maps."""
    if seen.known and (seen.pinned is None or seen.pinned.id != seen.known.program_id):
        yield PinProgram(seen.known.program_id)
    for pin in sorted(shapes):
        if pin in held and (pin not in seen.maps or seen.maps[pin].id != held[pin].id):
            yield PinMap(pin, held[pin].id)


def _attach(
    wanted: Wanted,
    seen: Seen,
    others: t.Iterable[Hook],
    unpinned: t.Optional[t.Tuple[str, Hook]],
    current: bool,
) -> t.Iterator[Step]:
    """The steps after which our program runs on the interface in the wanted mode."""
    attach = wanted.state == "attached"
    attaching = Attach("generic" if wanted.generic else wanted.mode)
    if attach:
        yield from (Evict(hook) for hook in others)
    if unpinned:
        by, hook = unpinned
        yield Adopt(by, hook)
        if not _mode_fits(wanted, seen, hook.mode):
            adopted = Attachment(by, t.cast(int, hook.link_id), hook.program.id, seen.ifindex, hook.mode)
            yield Detach(adopted, again=True)
            yield attaching
        elif not current:
            yield Swap(by)
    elif seen.ours and seen.attached and (not attach or _mode_fits(wanted, seen, seen.mode)):
        if not current:
            yield Swap(seen.ours.by)
    else:
        if seen.ours:
            yield Detach(seen.ours, again=True)
        yield attaching


def _note(seen: Seen, target: Deployed, current: bool) -> t.Iterator[Step]:
    if not current or not seen.known:
        yield Note(target)
    elif seen.known.deployed.mode != target.mode:
        yield Note(target, seen.known.program_id)


def _warnings(wanted: Wanted, seen: Seen, shapes: t.Container[str]) -> t.Iterator[str]:
    removed = [unescape(pin) for pin in sorted(seen.maps) if pin not in shapes and unescape(pin) != _FORMER_SWITCH]
    if removed and wanted.object.programs and not wanted.reset_maps:
        names = ", ".join(removed)
        yield f"{wanted.object.path} has no map {names}: what was counted there on {seen.interface} is gone"


def _remedy(hook: Hook) -> str:
    if hook.pinned_as:
        return (
            f"which this collection pinned for {hook.pinned_as} (was the interface renamed?);"
            f" remove it there first with state: absent and interfaces: [{hook.pinned_as}]"
        )
    return "which this collection did not attach; set on_conflict: replace to take its place"


def _program_for(wanted: Wanted, seen: Seen) -> str:
    """The program, or with a jumbo MTU its twin for packets of several buffers, if the object has one."""
    if not wanted.object.programs:
        return wanted.program or wanted.name
    name = wanted.object.xdp_program(wanted.program)
    twin = name + FRAGS_TWIN
    has_twin = any(p.xdp and p.name == twin and p.section == "xdp.frags" for p in wanted.object.programs)
    return twin if has_twin and wanted.frags and seen.mtu > PLAIN_MTU else name


def _held_maps(seen: Seen, pins: t.Iterable[str]) -> t.Dict[str, MapInfo]:
    """The maps of the running program by pin: as pinned, else by name, of which the kernel keeps 15 characters."""
    found = {pin: seen.maps[pin] for pin in pins if pin in seen.maps and seen.maps[pin].id in seen.held}
    rest = [info for info in seen.held.values() if info not in found.values()]
    for pin in pins:
        named = [info for info in rest if unescape(map_pin(info.name)) == unescape(pin)[:15]]
        if pin not in found and len(named) == 1:
            found[pin] = named[0]
    return found


def _mode_fits(wanted: Wanted, seen: Seen, mode: t.Optional[str]) -> bool:
    if wanted.mode != "auto":
        return mode == wanted.mode
    return mode == "native" or not seen.known or seen.known.deployed.mode == "auto"


def _and(found: t.Sequence[Hook]) -> str:
    return " and ".join(str(hook) for hook in found)

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second step: make a list of steps from the wanted and the observed state. Pure: reads and changes nothing.

current.py says whether there is anything to plan, removal.py detaches and removes programs, upgrade.py has what an
upgrade keeps, restoring.py what follows a reboot.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach import ways
from ..attach.hooks import Attachment, Hook
from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MapShape
from ..state.deployed import Deployed
from ..state.places import NEW, unescape
from .current import (
    Shapes,
    concerns_sharing,
    held_maps,
    is_current,
    mode_fits,
    program_for,
    shapes_of,
    shares_now,
    target_of,
)
from .observe import Seen
from .planned import Plan, describe, with_others
from .request import Wanted
from .steps import (
    Adopt,
    Attach,
    Detach,
    Evict,
    Fill,
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
    from ..sharing.config import Slot
    from .filling import Compared
    from .upgrade import Upgrade

_FORMER_SWITCH = ".data.trace"  # where packet_count of the previous release has its switch, which counts nothing


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Plan one interface. Raises FleetError if the wanted state is impossible or not allowed there."""
    if wanted.state in ("absent", "detached"):
        from .removal import plan_absent, plan_detached  # imported here, because a target compiles what it imports

        made = plan_absent(seen) if wanted.state == "absent" else plan_detached(seen)
    else:
        made = _plan_present(wanted, seen)
    return made._replace(steps=(Move(seen.former), *made.steps)) if seen.former else made


def _plan_present(wanted: Wanted, seen: Seen) -> Plan:
    _check_interface(wanted, seen)
    attach = wanted.state == "attached"
    unpinned = _unpinned(seen.pinned.id, seen.others) if attach and not seen.ours and seen.pinned else None
    others = tuple(hook for hook in seen.others if not (unpinned and hook is unpinned[1]))
    slot = _slot(wanted, seen)
    if slot:
        others = tuple(hook for hook in others if hook is not _joined(seen))
    if attach and others and not wanted.replace:
        raise FleetError(
            f"cannot attach {wanted.name} to {seen.interface}: it already runs {_and(others)},"
            f" {_remedy(others[0], wanted)}"
        )
    source = wanted.object
    shapes = shapes_of(wanted)
    held = held_maps(seen, shapes)
    target = target_of(wanted, seen, slot)
    shared = bool(slot)
    if wanted.reset_maps and is_current(wanted, seen, target, shapes, held, shared):
        wanted = wanted._replace(reset_maps=False)  # no map is made new, so what is in them counts
    lists = _compared(wanted, seen, shapes)
    again = {pin for pin, each in lists.items() if each.again}
    current = not again and is_current(wanted, seen, target, shapes, held, shared)
    upgrade = None if current else _upgrade(wanted, seen, shapes, held, again)
    live = attach or seen.attached
    if live and not attach and seen.known:
        target = target._replace(mode=seen.known.deployed.mode)  # state loaded: it stays attached as it is

    # Half-made pins of a killed run are removed last: one may be all that holds a link until the link is pinned again.
    steps: t.List[Step] = [Unpin(path) for path in seen.leftovers if not path.endswith(NEW)]
    steps += _repair(seen, shapes, held) if current else _load(wanted, target.program, shapes, upgrade, shared)
    kept = upgrade.keep if upgrade else {**seen.maps, **held} if current else {}
    steps += _set(wanted, seen, kept) if current else ()
    steps += _fill(lists, kept, upgrade)
    if live:
        steps += _attach(wanted, seen, others, unpinned, current, slot)
    elif seen.ours:
        steps.append(Detach(seen.ours))
    if source.programs:
        steps += [Unpin(seen.place.map(pin)) for pin in sorted(seen.maps) if pin not in shapes]
    steps += [Unpin(path) for path in seen.leftovers if path.endswith(NEW)]
    steps += _note(seen, target, current)
    warnings = (*_warnings(wanted, seen, shapes), *(upgrade.warnings if upgrade else ()), *_gap(wanted, seen, slot))
    persistent = False
    if seen.persistence:
        from .restoring import plan_restoring  # imported here, because a target compiles what it imports

        persistent, more, warning = plan_restoring(wanted, seen, target, live)
        steps += more
        warnings += warning
    if not steps:
        before = describe(seen)
        return Plan(seen, (), before, before, warnings)

    before, after = describe(seen), _after(target, seen, shapes, kept, live, slot)
    if wanted.settings:
        was, after["variables"] = _variables(wanted, seen, kept)
        if was:
            before["variables"] = {**before.get("variables", {}), **was}
    if any(isinstance(step, Fill) for step in steps):
        from .filling import entries_shown  # imported here, because a target compiles what it imports

        before["entries"], after["entries"] = entries_shown(lists, steps)
    if persistent:
        after["persistent"] = True
    spared = () if attach else seen.others  # in a dispatcher, the others are beside ours
    return Plan(seen, tuple(steps), before, with_others(after, seen, spared), warnings)


def _check_interface(wanted: Wanted, seen: Seen) -> None:
    """Raises FleetError if nothing can be deployed there."""
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


def _after(
    target: Deployed,
    seen: Seen,
    shapes: Shapes,
    kept: t.Mapping[str, MapInfo],
    live: bool,
    slot: "t.Optional[Slot]",
) -> t.Dict[str, t.Any]:
    """As describe(), once the plan is carried out."""
    after: t.Dict[str, t.Any] = {
        "state": "attached" if live else "detached",
        "mode": target.mode,
        "program": target.program,
        "checksum": target.checksum or "unknown until the object exists",
        "maps": {unescape(pin): str(kept[pin].shape if pin in kept else shapes[pin]) for pin in sorted(shapes)},
        "pins": sorted(
            {"program", *(f"maps/{unescape(pin)}" for pin in shapes), *(["link"] if live and not slot else [])}
        ),
    }
    if live:
        after["ifindex"] = seen.ifindex
    if live and slot:
        from .planned import shared_words
        from .sharing import beside  # imported here, because a target compiles what it imports

        after["dispatcher"] = shared_words(slot, beside(seen))
    return after


def _variables(
    wanted: Wanted, seen: Seen, kept: t.Mapping[str, MapInfo]
) -> t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]]:
    """Those that the task sets: what is in the maps that are kept, and what will be there."""
    before, after = {}, {}
    for each in wanted.settings:
        after[each.name] = each.value
        found = seen.contents.get(kept[each.pin].id) if each.pin in kept else None
        if found:
            now = found.data[each.offset : each.offset + len(each.data)]
            before[each.name], after[each.name] = each.decode(now), each.decode(each.on(now))
    return before, after


def keeps_maps(wanted: Wanted, seen: Seen) -> bool:
    """Whether a program would be loaded that takes over maps: then their contents must be observed."""
    if not wanted.object.programs or not (seen.held or seen.maps):
        return False
    shapes = shapes_of(wanted)
    if is_current(wanted, seen, target_of(wanted, seen), shapes, held_maps(seen, shapes), shares_now(wanted, seen)):
        # Then it depends on entries, which are not read yet.
        return any(each.at_once and not each.slot for each in wanted.fillings)
    return not wanted.reset_maps


def maps_there(wanted: Wanted, seen: Seen) -> t.Dict[str, MapInfo]:
    """The maps that an upgrade would keep or copy, by pin: not those of a different type, which has other entries."""
    shapes = shapes_of(wanted)
    there = {**seen.maps, **held_maps(seen, shapes)}
    return {pin: info for pin, info in there.items() if pin in shapes and _has_entries_of(info.shape, shapes[pin])}


def _has_entries_of(one: MapShape, other: MapShape) -> bool:
    return (one.type, one.key_size, one.value_size) == (other.type, other.key_size, other.value_size)


def resized(wanted: Wanted, seen: Seen) -> t.Set[str]:
    """Pins of maps that a task has given a size, this one or the one before, and that have a different one now."""
    before = seen.known.deployed.sizes if seen.known else {}
    if wanted.reset_maps or not (wanted.sizes or before):
        return set()
    there = maps_there(wanted, seen)
    return {
        pin
        for pin, shape in shapes_of(wanted).items()
        if unescape(pin) in {*wanted.sizes, *before} and pin in there and there[pin].shape != shape
    }


def _slot(wanted: Wanted, seen: Seen) -> "t.Optional[Slot]":
    """Where it stands among others; None if it has the interface alone."""
    if not concerns_sharing(wanted, seen):
        return None
    from .sharing import slot_for  # imported here, because a target compiles what it imports

    return slot_for(wanted, seen, program_for(wanted, seen))


def _joined(seen: Seen) -> t.Optional[Hook]:
    from .sharing import joined  # imported here, because a target compiles what it imports

    return joined(seen)


def _gap(wanted: Wanted, seen: Seen, slot: "t.Optional[Slot]") -> t.Iterator[str]:
    if concerns_sharing(wanted, seen):
        from .sharing import converting  # imported here, because a target compiles what it imports

        words = converting(wanted, seen, slot)
        if words:
            yield words


def _unpinned(program_id: int, here: t.Sequence[Hook]) -> t.Optional[t.Tuple[str, Hook]]:
    """Our program on an interface, if its pin is gone: the way by which it is attached, and its hook."""
    for name in ways.WITH_LINKS:
        found = ways.way(name).unpinned(program_id, here)
        if found:
            return name, found
    return None


def _upgrade(
    wanted: Wanted, seen: Seen, shapes: Shapes, held: t.Mapping[str, MapInfo], again: t.Container[str]
) -> "t.Optional[Upgrade]":
    """`again`: pins of maps that new ones replace."""
    if wanted.reset_maps or not (held or seen.maps):
        return None
    from .upgrade import plan_upgrade  # imported here, because a target compiles what it imports

    return plan_upgrade(wanted, seen, shapes, held, again)


def _compared(wanted: Wanted, seen: Seen, shapes: Shapes) -> "t.Dict[str, Compared]":
    """The entries that the task declares, beside those that are there, by pin."""
    if not wanted.fillings:
        return {}
    from .filling import compare  # imported here, because a target compiles what it imports

    return compare(wanted.fillings, shapes, {} if wanted.reset_maps else seen.entries)


def _set(wanted: Wanted, seen: Seen, maps: t.Mapping[str, MapInfo]) -> t.Iterator[Step]:
    """The variables of a program that is not loaded anew."""
    if wanted.settings:
        from .settings import set_variables  # imported here, because a target compiles what it imports

        yield from set_variables(wanted.settings, seen, maps)


def _fill(
    lists: "t.Mapping[str, Compared]", kept: t.Container[str], upgrade: "t.Optional[Upgrade]"
) -> t.Iterator[Step]:
    """A map is filled before the program that looks into it is attached, or swapped in."""
    if lists:
        from .filling import fills  # imported here, because a target compiles what it imports

        yield from fills(lists.values(), kept, upgrade.copied if upgrade else ())


def _load(
    wanted: Wanted, program: str, shapes: Shapes, upgrade: "t.Optional[Upgrade]", shared: bool
) -> t.Iterator[Step]:
    reuse = {pin: info.id for pin, info in upgrade.keep.items()} if upgrade else {}
    fresh = tuple(pin for pin in sorted(shapes) if pin not in reuse)
    settings = tuple(each for each in wanted.settings if each.constant or each.pin in fresh)
    begin = upgrade.begin if upgrade else {}
    yield Load(program, reuse, fresh, wanted.mode == "offload", begin, settings, wanted.sizes, shared)
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
    slot: "t.Optional[Slot]",
) -> t.Iterator[Step]:
    """The steps after which our program runs on the interface in the wanted mode."""
    attach = wanted.state == "attached"
    attaching = Attach("generic" if wanted.generic else wanted.mode)
    if slot:
        from .sharing import beside, moves  # imported here, because a target compiles what it imports

        shared = beside(seen)
        attaching = attaching._replace(by="dispatcher", slot=slot, beside=" and ".join(map(str, shared)))
        if seen.ours and seen.ours.dispatcher and seen.attached:
            if not shared and attach and not mode_fits(wanted, seen, seen.mode):
                yield Detach(seen.ours, again=True)
                yield attaching
            elif not current or moves(seen, slot):
                yield Swap("dispatcher", seen.ours, slot, moved=current)
            return
    if attach:
        yield from (Evict(hook) for hook in others)
    if unpinned:
        by, hook = unpinned
        yield Adopt(by, hook)
        if slot or not mode_fits(wanted, seen, hook.mode):
            adopted = Attachment(by, t.cast(int, hook.link_id), hook.program.id, seen.ifindex, hook.mode)
            yield Detach(adopted, again=True)
            yield attaching
        elif not current:
            yield Swap(by)
    elif (
        seen.ours
        and seen.attached
        and not slot
        and not seen.ours.dispatcher
        and (not attach or mode_fits(wanted, seen, seen.mode))
    ):
        if not current:
            yield Swap(seen.ours.by)
    else:
        if seen.ours:
            yield Detach(seen.ours, again=True)
        yield attaching


def _note(seen: Seen, target: Deployed, current: bool) -> t.Iterator[Step]:
    if not current or not seen.known:
        yield Note(target)
    elif (seen.known.deployed.mode, seen.known.deployed.sharing) != (target.mode, target.sharing):
        yield Note(target, seen.known.program_id)


def _warnings(wanted: Wanted, seen: Seen, shapes: t.Container[str]) -> t.Iterator[str]:
    removed = [unescape(pin) for pin in sorted(seen.maps) if pin not in shapes and unescape(pin) != _FORMER_SWITCH]
    if removed and wanted.object.programs and not wanted.reset_maps:
        names = ", ".join(removed)
        yield f"{wanted.object.path} has no map {names}: what was counted there on {seen.interface} is gone"


def _remedy(hook: Hook, wanted: Wanted) -> str:
    if hook.owner:
        return (
            f"which this collection deployed as {hook.owner}, alone: to have both, set dispatcher: always for"
            f" {hook.owner} first, which interrupts it for a moment, and then deploy {wanted.name}"
        )
    if hook.dispatcher and wanted.dispatcher != "never" and hook.dispatcher.trouble:
        return (
            f"which this collection did not attach, and which it cannot join: {hook.dispatcher.trouble};"
            f" set on_conflict: replace to take its place"
        )
    if hook.pinned_as:
        return (
            f"which this collection pinned for {hook.pinned_as} (was the interface renamed?);"
            f" remove it there first with state: absent and interfaces: [{hook.pinned_as}]"
        )
    if hook.dispatcher:
        return (
            "which this collection did not attach; leave dispatcher: auto to join it, or set on_conflict: replace to"
            " take its place"
        )
    return "which this collection did not attach; set on_conflict: replace to take its place"


def _and(found: t.Sequence[Hook]) -> str:
    return " and ".join(str(hook) for hook in found)

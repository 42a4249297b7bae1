# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second step: make a list of steps from the wanted and the observed state. Pure: reads and changes nothing."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach import ways
from ..attach.hooks import Attachment, Hook
from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MapShape
from ..state.deployed import Deployed
from ..state.places import NEW, map_pin, unescape
from .observe import PLAIN_MTU, Seen
from .request import Wanted
from .steps import (
    Adopt,
    Attach,
    Detach,
    Evict,
    Forget,
    Load,
    Note,
    Persist,
    PinMap,
    PinProgram,
    Step,
    Swap,
    Unpin,
)

FRAGS_TWIN = "_frags"

Shapes = t.Mapping[str, MapShape]  # by pin


class Plan(t.NamedTuple):
    """The steps for one interface, and a description of the state before and after them.

    `warnings` are for the user, also in check mode.
    """

    seen: Seen
    steps: t.Tuple[Step, ...]
    before: t.Dict[str, t.Any]
    after: t.Dict[str, t.Any]
    warnings: t.Tuple[str, ...] = ()


def describe(seen: Seen) -> t.Dict[str, t.Any]:
    """The state of one interface for a diff: only what check mode can predict."""
    words: t.Dict[str, t.Any] = {"state": "absent"}
    if seen.exists:
        record = seen.known.deployed if seen.known else None
        words = {
            "state": "attached" if seen.attached else "detached",
            "mode": record.mode if record else seen.mode or "unknown",
            "program": record.program if record else seen.running and seen.running.name,
            "checksum": record.checksum if record else "unknown",
            "maps": {unescape(pin): str(info.shape) for pin, info in sorted(seen.maps.items())},
            "pins": _pins(seen),
        }
        if seen.attached:
            words["ifindex"] = seen.ifindex
    if seen.persistent:
        words["persistent"] = True
    if seen.others:
        words["others"] = [str(hook) for hook in seen.others]
    return words


def _pins(seen: Seen) -> t.List[str]:
    there = {
        "link": seen.ours,
        "program": seen.pinned,
        **{f"maps/{unescape(pin)}": info for pin, info in seen.maps.items()},
        **{unescape(path[len(seen.place.folder) + 1 :]): path for path in seen.leftovers},
    }
    if seen.running and seen.pinned and seen.pinned.id != seen.running.id:
        there["program (not the one that runs)"] = there.pop("program")
    return sorted(pin for pin, found in there.items() if found)


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Plan one interface. Raises FleetError if the wanted state is impossible or not allowed there."""
    if wanted.state == "absent":
        return _plan_absent(seen)
    if wanted.state == "detached":
        return _plan_detached(seen)
    return _plan_present(wanted, seen)


def _plan_absent(seen: Seen) -> Plan:
    before = describe(seen)
    steps = _forget(seen)  # first: a half-removed program must not be restored
    if seen.exists:
        if seen.ours:
            steps.append(Detach(seen.ours))
        steps += [Unpin(path) for path in _paths(seen) if path != seen.place.link]
        steps.append(Note(None))
    if not steps:
        return Plan(seen, (), before, before)
    return Plan(seen, tuple(steps), before, _with_others({"state": "absent"}, seen))


def _plan_detached(seen: Seen) -> Plan:
    before = describe(seen)
    steps = _forget(seen)
    steps += [Unpin(path) for path in seen.leftovers]
    if seen.ours:
        steps.append(Detach(seen.ours))
    if not steps:
        return Plan(seen, (), before, before)
    after = {key: value for key, value in before.items() if key not in ("ifindex", "persistent")}
    after.update(state="detached", pins=[pin for pin in before["pins"] if pin != "link" and not pin.endswith(NEW)])
    return Plan(seen, tuple(steps), before, after)


def _plan_present(wanted: Wanted, seen: Seen) -> Plan:
    if not seen.ifindex:
        raise FleetError(f"there is no interface {seen.interface} on this host; `ip link` lists the existing ones")
    attach = wanted.state == "attached"
    unpinned = ways.unpinned(seen.pinned.id, seen.others) if attach and not seen.ours and seen.pinned else None
    others = tuple(hook for hook in seen.others if not (unpinned and hook is unpinned[1]))
    if attach and others and not wanted.replace:
        raise FleetError(
            f"cannot attach {wanted.name} to {seen.interface}: it already runs {_and(others)}, {_remedy(others[0])}"
        )
    source = wanted.object
    shapes = {pin: m.shape for pin, m in source.shared_maps.items()}
    held = _held_maps(seen, shapes)
    target = Deployed(source.path, source.checksum or "", _program_for(wanted, seen), wanted.mode)
    current = _is_current(wanted, seen, target, shapes, held)
    live = attach or seen.attached
    if live and not attach and seen.known:
        target = target._replace(mode=seen.known.deployed.mode)  # state loaded: it stays attached as it is

    # Half-made pins of a killed run are removed last: one may be all that holds a link until the link is pinned again.
    halves, leftovers = _split(seen.leftovers)
    steps: t.List[Step] = [Unpin(path) for path in leftovers]
    steps += _repair(seen, shapes, held) if current else [_load(wanted, seen, target.program, shapes, held)]
    if live:
        steps += _attach(wanted, seen, others, unpinned, current)
    elif seen.ours:
        steps.append(Detach(seen.ours))
    if source.programs:
        steps += [Unpin(seen.place.map(pin)) for pin in sorted(seen.maps) if pin not in shapes]
    steps += [Unpin(path) for path in halves]
    steps += _note(seen, target, current)
    persistent, more = _persistence(wanted, seen, target, live)
    steps += more
    warnings = tuple(_warnings(wanted, seen, shapes))
    if not steps:
        before = describe(seen)
        return Plan(seen, (), before, before, warnings)

    after: t.Dict[str, t.Any] = {
        "state": "attached" if live else "detached",
        "mode": target.mode,
        "program": target.program,
        "checksum": target.checksum or "unknown until the object exists",
        "maps": {unescape(pin): str(shape) for pin, shape in sorted(shapes.items())},
        "pins": sorted({"program", *(f"maps/{unescape(pin)}" for pin in shapes), *(["link"] if live else [])}),
    }
    if live:
        after["ifindex"] = seen.ifindex
    if persistent:
        after["persistent"] = True
    kept = () if attach else seen.others
    return Plan(seen, tuple(steps), describe(seen), _with_others(after, seen, kept), warnings)


def _is_current(wanted: Wanted, seen: Seen, target: Deployed, shapes: Shapes, held: t.Mapping[str, MapInfo]) -> bool:
    """Whether the wanted program is already loaded, and all its maps can be pinned."""
    known = seen.known and seen.known.deployed
    if not known or known.checksum != (wanted.object.checksum or None):
        return False
    if not wanted.object.programs:
        return True
    # A missing map may be used only by a different program, which this one calls: load again.
    return known.program == target.program and all(pin in held or pin in seen.maps for pin in shapes)


def _split(leftovers: t.Iterable[str]) -> t.Tuple[t.List[str], t.List[str]]:
    """Pins half made by a killed run, and the other leftovers."""
    halves: t.List[str] = []
    others: t.List[str] = []
    for path in leftovers:
        (halves if path.endswith(NEW) else others).append(path)
    return halves, others


def _load(wanted: Wanted, seen: Seen, program: str, shapes: Shapes, held: t.Mapping[str, MapInfo]) -> Step:
    reuse = {} if wanted.reset_maps else _reusable(wanted, seen, shapes, held)
    fresh = tuple(pin for pin in sorted(shapes) if pin not in reuse)
    return Load(program, reuse, fresh, wanted.mode == "offload")


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
            yield Detach(Attachment(by, t.cast(int, hook.link_id), hook.program.id, seen.ifindex, hook.mode))
            yield attaching
        elif not current:
            yield Swap(by)
    elif seen.ours and seen.attached and (not attach or _mode_fits(wanted, seen, seen.mode)):
        if not current:
            yield Swap(seen.ours.by)
    else:
        if seen.ours:
            yield Detach(seen.ours)
        yield attaching


def _note(seen: Seen, target: Deployed, current: bool) -> t.Iterator[Step]:
    if not current or not seen.known:
        yield Note(target)
    elif seen.known.deployed.mode != target.mode:
        yield Note(target, seen.known.program_id)


def _persistence(wanted: Wanted, seen: Seen, target: Deployed, live: bool) -> t.Tuple[bool, t.List[Step]]:
    """Whether it is restored after a reboot, and the steps for that."""
    there = seen.persistence
    if not there:
        return False, []
    if live and not wanted.persist and there.damage:
        return False, []  # the user did not say what to do about it: kept, with a warning
    if wanted.persist == "true" and live and there.obstacle:
        raise FleetError(
            f"{wanted.name} cannot be restored on {seen.interface} after a reboot: {there.obstacle};"
            f" set persist: auto (only where the host supports it) or persist: false"
        )
    asked = {"true": True, "false": False, "auto": not there.obstacle}.get(wanted.persist or "", seen.persistent)
    if not live or not asked:
        return False, _forget(seen)
    from ..persist.manifests import Manifest  # here: a target compiles what it imports, in each task

    manifest = Manifest(target, wanted.replace)
    if there.manifest and there.whole:
        generic = seen.mode == "generic" if seen.attached else there.manifest.generic
        if there.manifest == manifest._replace(generic=generic):
            return True, []
    return True, [Persist(manifest)]


def _forget(seen: Seen) -> t.List[Step]:
    return [Forget()] if seen.persistence and seen.persistence.traces else []


def _warnings(wanted: Wanted, seen: Seen, shapes: t.Container[str]) -> t.Iterator[str]:
    removed = [unescape(pin) for pin in sorted(seen.maps) if pin not in shapes]
    if removed and wanted.object.programs and not wanted.reset_maps:
        names = ", ".join(removed)
        yield f"{wanted.object.path} has no map {names}: what was counted there on {seen.interface} is gone"
    if seen.persistence and seen.persistence.damage and not wanted.persist:
        yield (
            f"{seen.persistence.damage}. It is kept because persist is not set; until you set it, {wanted.name} is not"
            f" restored on {seen.interface} after a reboot"
        )


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


def _reusable(
    wanted: Wanted, seen: Seen, shapes: t.Mapping[str, MapShape], held: t.Mapping[str, MapInfo]
) -> t.Dict[str, int]:
    """Ids of the maps to keep, by pin: the running program's own, else what is pinned."""
    reuse = {}
    for pin, shape in shapes.items():
        info = held.get(pin) or seen.maps.get(pin)
        if info is None or (shape.type == "prog_array" and len(wanted.object.loaded_with("")) > 2):
            continue  # an array of the object's own programs: if kept, it would still call the old ones
        if info.shape != _as_created(shape, info.shape):
            raise FleetError(
                f"cannot upgrade {wanted.name} on {seen.interface}: the map {unescape(pin)} has changed its shape"
                f" (it is {info.shape}; the new object needs {shape}); nothing was changed."
                f" Set maps: reset to start with new, empty maps"
            )
        reuse[pin] = info.id
    return reuse


def _as_created(shape: MapShape, like: t.Optional[MapShape] = None) -> MapShape:
    """The shape of a map whose size libbpf chooses: one entry for each CPU, or whole pages."""
    if not like or like.type != shape.type:
        return shape
    chosen = shape.type in ("ringbuf", "user_ringbuf") or (shape.type == "perf_event_array" and shape.max_entries == 0)
    return shape._replace(max_entries=like.max_entries) if chosen else shape


def _mode_fits(wanted: Wanted, seen: Seen, mode: t.Optional[str]) -> bool:
    if wanted.mode != "auto":
        return mode == wanted.mode
    return mode == "native" or not seen.known or seen.known.deployed.mode == "auto"


def _paths(seen: Seen) -> t.List[str]:
    place = seen.place
    paths = list(seen.leftovers) + [place.map(pin) for pin in sorted(seen.maps)]
    if seen.pinned:
        paths.append(place.program)
    if seen.ours:
        paths.append(place.link)
    return paths


def _and(found: t.Sequence[Hook]) -> str:
    return " and ".join(str(hook) for hook in found)


def _with_others(
    after: t.Dict[str, t.Any], seen: Seen, others: t.Optional[t.Sequence[Hook]] = None
) -> t.Dict[str, t.Any]:
    others = seen.others if others is None else others
    return {**after, "others": [str(hook) for hook in others]} if others else after

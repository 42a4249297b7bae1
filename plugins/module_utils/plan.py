# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second step: from what is wanted and what was observed to a list of steps. Pure: asks and changes nothing."""

# No annotations from __future__: with them each NamedTuple takes a target twice as long to make.
import typing as t

from .errors import FleetError
from .image import ObjectFacts
from .libbpf import LinkInfo, MapInfo, MapShape
from .observe import PLAIN_MTU, Hook, Manifest, Seen
from .pins import NEW, map_pin, unescape

FRAGS_TWIN = "_frags"


class Wanted(t.NamedTuple):
    """The options of xdp_program, checked. `frags`: whether the kernel knows packets of several buffers.

    persist: "true", "false", "auto" (where it can be), None (where it is already). generic: attach in this mode, though
    another was asked for.
    """

    state: str
    name: str
    object: ObjectFacts = ObjectFacts("", None)
    program: t.Optional[str] = None
    mode: str = "auto"
    replace: bool = False
    reset_maps: bool = False
    frags: bool = False
    persist: t.Optional[str] = None
    generic: bool = False


class Load(t.NamedTuple):
    """Load a program; `reuse` are map ids by pin, `fresh` the pins of maps that it brings."""

    program: str
    reuse: t.Dict[str, int]
    fresh: t.Tuple[str, ...]
    offload: bool = False

    def __str__(self) -> str:
        kept = f", keeping the maps {', '.join(map(unescape, sorted(self.reuse)))}" if self.reuse else ""
        return f"load {self.program}{kept}"


class PinProgram(t.NamedTuple):
    program_id: int

    def __str__(self) -> str:
        return "pin the running program again"


class PinMap(t.NamedTuple):
    pin: str
    map_id: int

    def __str__(self) -> str:
        return f"pin the map {unescape(self.pin)} again"


class PinLink(t.NamedTuple):
    link_id: int

    def __str__(self) -> str:
        return "pin the link again"


class Evict(t.NamedTuple):
    """Take another's program off."""

    hook: Hook

    def __str__(self) -> str:
        return f"take off {self.hook}"


class Attach(t.NamedTuple):
    mode: str
    ifindex: int

    def __str__(self) -> str:
        return f"attach by link, mode {self.mode}"


class Swap(t.NamedTuple):
    def __str__(self) -> str:
        return "swap the program in the link"


class Detach(t.NamedTuple):
    """program_id and mode: of the program in the link; mode None if that is on no interface."""

    program_id: int
    mode: t.Optional[str]

    def __str__(self) -> str:
        return "detach"


class DropLink(t.NamedTuple):
    def __str__(self) -> str:
        return "remove the dead link"


class Unpin(t.NamedTuple):
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


class Note(t.NamedTuple):
    """Write down what the kernel cannot tell; None: forget it. program_id 0: of the program just loaded."""

    program: t.Optional[str]
    mode: str = ""
    program_id: int = 0

    def __str__(self) -> str:
        return "write the record" if self.program else "remove the record"


class Persist(t.NamedTuple):
    """The manifest as far as it is known: `generic` only the attached program tells."""

    manifest: Manifest

    def __str__(self) -> str:
        return "have it brought back after a reboot"


class Forget(t.NamedTuple):
    def __str__(self) -> str:
        return "have it brought back no more after a reboot"


Step = t.Union[Load, PinProgram, PinMap, PinLink, Evict, Attach, Swap, Detach, DropLink, Unpin, Note, Persist, Forget]


class Plan(t.NamedTuple):
    """The steps for one interface, and the state before and after them in words that need no kernel.

    `warnings` are for the user, in check mode as well.
    """

    seen: Seen
    steps: t.Tuple[Step, ...]
    before: t.Dict[str, t.Any]
    after: t.Dict[str, t.Any]
    warnings: t.Tuple[str, ...] = ()


def changes_what_runs(planned: Plan) -> bool:
    """Whether another program, or none, runs on the interface afterwards."""
    return any(isinstance(step, (Evict, Attach, Swap, Detach)) for step in planned.steps)


def describe(seen: Seen) -> t.Dict[str, t.Any]:
    """The state of one interface for a diff: nothing in it that only a real run could know."""
    words: t.Dict[str, t.Any] = {"state": "absent"}
    if seen.exists:
        record = seen.known
        words = {
            "state": "attached" if seen.attached else "detached",
            "mode": record.mode if record else seen.mode or "unknown",
            "program": record.program if record else seen.running and seen.running.name,
            "checksum": record.checksum if record else "unknown",
            "maps": {pin: str(info.shape) for pin, info in sorted(seen.maps.items())},
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
        "link": seen.link,
        "program": seen.pinned,
        **{f"maps/{pin}": info for pin, info in seen.maps.items()},
        **{path[len(seen.place.folder) + 1 :]: path for path in seen.leftovers},
    }
    if seen.running and seen.pinned and seen.pinned.id != seen.running.id:
        there["program (not the one that runs)"] = there.pop("program")
    return sorted(pin for pin, found in there.items() if found)


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Raises FleetError where what is wanted cannot or must not be done on this interface."""
    if wanted.state == "absent":
        return _plan_absent(seen)
    if wanted.state == "detached":
        return _plan_detached(seen)
    return _plan_present(wanted, seen)


def _plan_absent(seen: Seen) -> Plan:
    before = describe(seen)
    steps = _forget(seen)  # first: half removed, it must not come back
    if seen.exists:
        if seen.link:
            steps.append(_part(seen, seen.link))
        steps += [Unpin(path) for path in _paths(seen) if path != seen.place.link]
        steps.append(Note(None))
    if not steps:
        return Plan(seen, (), before, before)
    return Plan(seen, tuple(steps), before, _with_others({"state": "absent"}, seen))


def _plan_detached(seen: Seen) -> Plan:
    before = describe(seen)
    steps = _forget(seen)
    steps += [Unpin(path) for path in seen.leftovers]
    if seen.link:
        steps.append(_part(seen, seen.link))
    if not steps:
        return Plan(seen, (), before, before)
    after = {key: value for key, value in before.items() if key not in ("ifindex", "persistent")}
    after.update(state="detached", pins=[pin for pin in before["pins"] if pin != "link" and not pin.endswith(NEW)])
    return Plan(seen, tuple(steps), before, after)


def _plan_present(wanted: Wanted, seen: Seen) -> Plan:
    place, source = seen.place, wanted.object
    if not seen.ifindex:
        raise FleetError(f"there is no interface {place.interface} on this host; `ip link` lists those there are")
    attach = wanted.state == "attached"
    program = _program_for(wanted, seen)
    adopted = _lost_link(seen) if attach else None
    others = tuple(hook for hook in seen.others if hook is not adopted)
    if attach and others and not wanted.replace:
        raise FleetError(
            f"cannot attach {wanted.name} to {place.interface}: it carries {_and(others)}, {_whose(others[0])}"
        )

    known = seen.known
    current = bool(known and known.checksum == source.checksum and (known.program == program or not source.programs))
    shapes = {pin: m.shape for pin, m in source.shared_maps.items()}
    held = _held_maps(seen, shapes)
    if current and source.programs and not all(pin in held or pin in seen.maps for pin in shapes):
        current = False  # a map is lost which the program itself does not use (another that it calls may): load again
    steps: t.List[Step] = [Unpin(path) for path in seen.leftovers if not path.endswith(NEW)]
    mode = wanted.mode

    if not current:
        reuse = {} if wanted.reset_maps else _reusable(wanted, seen, shapes, held)
        fresh = tuple(pin for pin in sorted(shapes) if pin not in reuse)
        steps.append(Load(program, reuse, fresh, wanted.mode == "offload"))
    else:
        if known and (seen.pinned is None or seen.pinned.id != known.program_id):
            steps.append(PinProgram(known.program_id))
        for pin in sorted(shapes):
            if pin in held and (pin not in seen.maps or seen.maps[pin].id != held[pin].id):
                steps.append(PinMap(pin, held[pin].id))

    live = seen.attached
    attaching = Attach("generic" if wanted.generic else wanted.mode, seen.ifindex)
    if attach or live:
        steps += [Evict(hook) for hook in others if attach]
        if adopted:
            steps.append(PinLink(t.cast(int, adopted.link_id)))
            live = True
            if not _mode_fits(wanted, seen, adopted.mode):
                steps += [Detach(adopted.program.id, adopted.mode), attaching]
            elif not current:
                steps.append(Swap())
        elif live and (not attach or _mode_fits(wanted, seen, seen.mode)):
            if not current:
                steps.append(Swap())
            if not attach and known:
                mode = known.mode
        else:
            if seen.link:
                steps.append(_part(seen, seen.link))
            steps.append(attaching)
            live = True
    elif seen.link:
        steps.append(_part(seen, seen.link))

    if source.programs:
        steps += [Unpin(place.map(pin)) for pin in sorted(seen.maps) if pin not in shapes]
    # Last: the pin of a link, half made by a run that was killed, may be all that holds it until it is adopted.
    steps += [Unpin(path) for path in seen.leftovers if path.endswith(NEW)]
    if not current or (known and known.mode != mode):
        steps.append(Note(program, mode, known.program_id if known and current else 0))
    persists = live and _persists(wanted, seen)
    if persists:
        steps += _persist(Manifest(source.path, source.checksum or "", program, mode, wanted.replace, False), seen)
    else:
        steps += _forget(seen)
    if not steps:
        before = describe(seen)
        return Plan(seen, (), before, before)

    pins = sorted({"program", *(f"maps/{pin}" for pin in shapes), *(["link"] if live else [])})
    after: t.Dict[str, t.Any] = {
        "state": "attached" if live else "detached",
        "mode": mode,
        "program": program,
        "checksum": source.checksum or "of the object that is still to come",
        "maps": {pin: str(shape) for pin, shape in sorted(shapes.items())},
        "pins": pins,
    }
    if live:
        after["ifindex"] = seen.ifindex
    if persists:
        after["persistent"] = True
    kept = () if attach else seen.others
    return Plan(seen, tuple(steps), describe(seen), _with_others(after, seen, kept), _warnings(wanted, seen, shapes))


def _persists(wanted: Wanted, seen: Seen) -> bool:
    there = seen.persistence
    if not there:
        return False
    if wanted.persist == "true" and there.hindrance:
        raise FleetError(
            f"{wanted.name} cannot be brought back on {seen.interface} after a reboot: {there.hindrance};"
            f" set persist: auto to have it where that can be done, or false"
        )
    return {"true": True, "false": False, "auto": not there.hindrance}.get(wanted.persist or "", seen.persistent)


def _persist(manifest: Manifest, seen: Seen) -> t.List[Step]:
    there = seen.persistence
    known = there and there.manifest
    if there and known and there.whole:
        generic = seen.mode == "generic" if seen.attached else known.generic
        if known == manifest._replace(generic=generic):
            return []
    return [Persist(manifest)]


def _forget(seen: Seen) -> t.List[Step]:
    return [Forget()] if seen.persistence and seen.persistence.traces else []


def _warnings(wanted: Wanted, seen: Seen, shapes: t.Container[str]) -> t.Tuple[str, ...]:
    lost = [unescape(pin) for pin in sorted(seen.maps) if pin not in shapes]
    if not lost or not wanted.object.programs or wanted.reset_maps:
        return ()
    return (f"{wanted.object.path} has no map {', '.join(lost)}: what was counted there on {seen.interface} is gone",)


def _whose(hook: Hook) -> str:
    if hook.pinned_as:
        return (
            f"which is ours, but pinned for {hook.pinned_as} (was the interface renamed?);"
            f" take it off there first with state: absent and interfaces: [{hook.pinned_as}]"
        )
    return "which is not ours; set on_conflict: replace to take its place"


def _part(seen: Seen, link: LinkInfo) -> Step:
    return Detach(link.program_id, seen.mode) if link.ifindex else DropLink()


def _program_for(wanted: Wanted, seen: Seen) -> str:
    """The program, or on a jumbo MTU its twin for packets of several buffers, if the object has one."""
    if not wanted.object.programs:
        return wanted.program or wanted.name
    name = wanted.object.xdp_program(wanted.program)
    twin = name + FRAGS_TWIN
    has_twin = any(p.xdp and p.name == twin and p.section == "xdp.frags" for p in wanted.object.programs)
    return twin if has_twin and wanted.frags and seen.mtu > PLAIN_MTU else name


def _lost_link(seen: Seen) -> t.Optional[Hook]:
    """Our own program, held by a link whose pin somebody removed but whose fd somebody keeps."""
    if seen.link or not seen.pinned:
        return None
    return next((h for h in seen.others if h.link_id is not None and h.program.id == seen.pinned.id), None)


def _held_maps(seen: Seen, pins: t.Iterable[str]) -> t.Dict[str, MapInfo]:
    """The maps of the running program by pin: as pinned, else by name, of which the kernel knows 15 characters."""
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
            continue  # an array of the object's own programs: kept, it would go on calling the old ones
        if info.shape != _as_created(shape, info.shape):
            raise FleetError(
                f"cannot upgrade {wanted.name} on {seen.interface}: the map {unescape(pin)} has changed its shape"
                f" (it is {info.shape}; the new object wants {shape}); nothing was changed."
                f" Set maps: reset to start with new, empty maps"
            )
        reuse[pin] = info.id
    return reuse


def _as_created(shape: MapShape, like: t.Optional[MapShape] = None) -> MapShape:
    """The shape that libbpf gives a map which leaves its size to it: one entry a CPU, whole pages."""
    if not like or like.type != shape.type:
        return shape
    left_to_it = shape.type in ("ringbuf", "user_ringbuf") or (
        shape.type == "perf_event_array" and shape.max_entries == 0
    )
    return shape._replace(max_entries=like.max_entries) if left_to_it else shape


def _mode_fits(wanted: Wanted, seen: Seen, mode: t.Optional[str]) -> bool:
    if wanted.mode != "auto":
        return mode == wanted.mode
    return mode == "native" or not seen.known or seen.known.mode == "auto"


def _paths(seen: Seen) -> t.List[str]:
    place = seen.place
    paths = list(seen.leftovers) + [place.map(pin) for pin in sorted(seen.maps)]
    if seen.pinned:
        paths.append(place.program)
    if seen.link:
        paths.append(place.link)
    return paths


def _and(found: t.Sequence[Hook]) -> str:
    return " and ".join(str(hook) for hook in found)


def _with_others(
    after: t.Dict[str, t.Any], seen: Seen, others: t.Optional[t.Sequence[Hook]] = None
) -> t.Dict[str, t.Any]:
    others = seen.others if others is None else others
    return {**after, "others": [str(hook) for hook in others]} if others else after

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of maps that a task declares: what is to be written, and how a diff shows it. Pure, but for observe()."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import itertools
import sys
import typing as t

from ..entries.difference import Declared, Difference, difference
from ..entries.listed import listed_in_file, listed_in_task
from ..entries.typed import Typed, declared, typed
from ..entries.writing import FIXED, TYPES, check_room, check_type, seen_entries
from ..errors import FleetError
from ..libbpf.elements import Elements, sizes_of_values, value_of_one_cpu
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MapShape
from ..libbpf.layouts import Layouts
from ..libbpf.library import Libbpf
from ..libbpf.objects import Object, open_object
from ..objects.image import Image
from ..state.places import map_pin, map_text, outer_pin, shortened, slot_key, unescape
from ..state.trusted import Read
from ..values.refused import listed
from .declared import Filling
from .steps import Fill


def fillings_of(
    lib: Libbpf, image: Image, map_entries: t.Iterable[t.Mapping[str, t.Any]], read: Read
) -> t.Tuple[Filling, ...]:
    """Of the option map_entries, typed by the object's BTF. `read`: of files on the host. Raises FleetError."""
    facts, found = image.facts, {}
    with open_object(lib, image.content, facts.name) as opened:
        btf = opened.btf
        types = Layouts(btf) if btf else None
        for options in map_entries:
            known = {each: one for each, one in facts.shared_maps.items() if not one.internal}
            if map_pin(options["map"]) not in known:
                names = listed(sorted(map(unescape, known)))
                raise FleetError(f"map_entries: {facts.path} has no map {shortened(options['map'])}; it has {names}")
            try:
                each = _filling(lib, image, opened, types, options, read)
            except FleetError as error:
                raise FleetError(f"map_entries, {options['map']}: {error}") from error
            if each.pin in found:
                raise FleetError(f"map_entries has {each.slot or f'the map {each.name}'} twice")
            found[each.pin] = each
    return tuple(found.values())


def _filling(
    lib: Libbpf, image: Image, opened: Object, types: t.Optional[Layouts], options: t.Mapping[str, t.Any], read: Read
) -> Filling:
    pin, name = map_pin(options["map"]), options["map"]
    shape, numbers = image.facts.shared_maps[pin].shape, opened.types(image.facts.shared_maps[pin].name)
    if options["slot"] is not None:
        from .slots import slot_in_task  # imported here, because a target compiles what it imports

        slot = slot_in_task(image, types, name, options["slot"])
        check_type(str(slot), slot.like.shape)
        how = typed(types, slot.like.shape, slot.like.key_type, slot.like.value_type, options["formats"])
        return filling_of(lib, slot.pin, slot.like.shape, how, options, read)._replace(slot=slot)
    check_type(name, shape)
    if options["replace"] == "at_once":
        _check_slot(types, name)
    how = typed(types, shape, numbers.key, numbers.value, options["formats"])
    return filling_of(lib, pin, shape, how, options, read)


def _check_slot(types: t.Optional[Layouts], name: str) -> None:
    """Raises FleetError if the map is in a slot: a new one would not get there with the program."""
    from .slots import outer_maps  # imported here, because a target compiles what it imports

    outer = outer_maps(types).get(name)
    if outer:
        raise FleetError(
            f"{name} lies in a slot of {outer}, and is not replaced with the program: use ebpf.fleet.bpf_map with map:"
            f" {outer}, slot and replace: at_once"
        )


def restored(lib: Libbpf, image: Image, pin: str, entries: t.Mapping[bytes, bytes]) -> Filling:
    """Of entries that were kept. Raises FleetError if they are not those of the object's map."""
    found, slot = image.facts.shared_maps.get(outer_pin(pin)), None
    shape = found.shape if found else None
    key = slot_key(pin)
    if key is not None:
        from .slots import slot_in_object  # imported here, because a target compiles what it imports

        slot = slot_in_object(lib, image, outer_pin(pin), key)
        shape = slot.like.shape if slot else None
    sizes = {(len(key), len(value)) for key, value in entries.items()}
    if not shape or sizes - {(shape.key_size, value_of_one_cpu(shape))}:
        raise FleetError(f"the kept entries of {slot or map_text(pin)} do not fit the object: declare them again")
    cpus, _size = sizes_of_values(lib, shape)
    values = {key: value * cpus for key, value in entries.items()}
    return Filling(pin, Declared(values), cpus, typed(None, shape, 0, 0), slot=slot)


def filling_of(
    lib: Libbpf, pin: str, shape: MapShape, how: Typed, options: t.Mapping[str, t.Any], read: Read
) -> Filling:
    """`options`: those of one map. Raises FleetError."""
    if options["diff_limit"] < 0:
        raise FleetError(f"diff_limit is {options['diff_limit']}: give 0 or more")
    if options["src"] is None:
        rows = listed_in_task(options)
    else:
        content = read(options["src"])
        if content is None:
            raise FleetError(
                f"there is no file {options['src']} on this host; copy it there with ansible.builtin.copy, which in"
                " check mode only predicts that it would"
            )
        rows = listed_in_file(options["src"], content, options["format"], how.members)
    entries = declared(rows, how, options, *sizes_of_values(lib, shape))
    if shape.type in FIXED:
        outside = next((key for key in entries.values if int.from_bytes(key, sys.byteorder) >= shape.max_entries), None)
        if outside is not None:
            index = int.from_bytes(outside, sys.byteorder)
            raise FleetError(f"there is no element {index}: the array has 0 to {shape.max_entries - 1}")
    cpus, _size = sizes_of_values(lib, shape)
    return Filling(
        pin,
        entries,
        cpus,
        how,
        options["replace"] == "at_once",
        options["diff_limit"],
    )


class Compared(t.NamedTuple):
    """A filling, and how the map that is there differs from it; `seen` None: there is no map."""

    filling: Filling
    shape: MapShape
    seen: t.Optional[t.Mapping[bytes, bytes]]
    made: Difference

    @property
    def again(self) -> bool:
        """Whether a new map takes the place of this one, with the program: what is in a slot needs no other."""
        return self.filling.at_once and not self.filling.slot and self.seen is not None and bool(self.made)


def observe(
    lib: Libbpf, fillings: t.Iterable[Filling], maps: t.Mapping[str, MapInfo], resized: t.Container[str]
) -> t.Dict[str, t.Dict[bytes, bytes]]:
    """The entries of the maps that are there, by pin. `resized`: pins of those that are to be copied."""
    found: t.Dict[str, t.Dict[bytes, bytes]] = {}

    def read(info: MapInfo, keys: t.Optional[t.Iterable[bytes]], canonical: t.Callable[[bytes], bytes] = bytes) -> None:
        with lib.map_by_id(info.id) as fd:
            found[pin] = seen_entries(Elements(lib, fd, info.shape), info.shape, keys, canonical)

    declared = {each.pin: each for each in fillings}
    for pin, info in maps.items():
        if pin in declared:
            each = declared[pin]
            whole = each.declared.exclusive or each.at_once or pin in resized
            read(info, None if whole else each.declared.values, each.how.key.canonical)
        elif pin in resized and info.shape.type in TYPES:
            read(info, None)
    return found


def compare(
    fillings: t.Iterable[Filling], shapes: t.Mapping[str, MapShape], seen: t.Mapping[str, t.Mapping[bytes, bytes]]
) -> t.Dict[str, Compared]:
    """By pin. Raises FleetError if the object has no such map, or entries of such a map cannot be declared."""
    found = {}
    for each in fillings:
        shape, there = each.slot.like.shape if each.slot else shapes[each.pin], seen.get(each.pin)
        found[each.pin] = Compared(each, shape, there, difference(each.declared, there or {}, shape.type in FIXED))
    return found


def fills(found: t.Iterable[Compared], kept: t.Container[str], copied: t.Container[str]) -> t.Iterator[Fill]:
    """`kept`: pins of the maps that stay; `copied`: of new ones that get the entries of those that they replace."""
    for each in found:
        filling, slot = each.filling, each.filling.slot
        if slot and slot.outer in kept:
            step = fill_slot(each)
        else:
            step = fill(each, (slot.outer if slot else filling.pin) not in kept, filling.pin in copied)
        if step:
            yield step


def fill_slot(found: Compared) -> t.Optional[Fill]:
    """Of a map of maps that stays. `seen` None: the slot is empty. Raises FleetError."""
    new = found.filling.at_once or found.seen is None
    return fill(found, fresh=new, carry=new) if found.made else None


def fill(found: Compared, fresh: bool, carry: bool) -> t.Optional[Fill]:
    """The step. fresh: the map is new; carry: it gets the entries of the one that it replaces. Raises FleetError."""
    filling, shape, seen, made = found
    if fresh:
        whole = _whole(seen or {}, made) if carry else difference(filling.declared, {}, shape.type in FIXED)
        check_room(filling.name, shape, 0, whole)
        changes = made if carry else None
        return Fill(filling.pin, whole, changes, fresh=True, slot=filling.slot) if whole or changes else None
    if not made:
        return None
    check_room(filling.name, shape, len(seen or ()), made)
    return Fill(filling.pin, made, slot=filling.slot)


def kept(filling: Filling, before: t.Mapping[bytes, bytes]) -> t.Dict[bytes, bytes]:
    """What is restored after a reboot, if `before` was so far: values of one CPU."""
    declared, cpus = filling.declared, filling.cpus
    values, masks = declared.values, declared.masks
    if cpus > 1:
        values, masks = ({key: data[: len(data) // cpus] for key, data in each.items()} for each in (values, masks))
    if declared.exclusive and not (masks or declared.within or declared.absent):
        return dict(values)  # a million of them are not compared once more
    one = declared._replace(values=values, masks=masks)
    return dict(_whole(before, difference(one, before, fixed=False)).added)


def _whole(seen: t.Mapping[bytes, bytes], made: Difference) -> Difference:
    """For an empty map: all that it must have."""
    gone = {key for key, _value in made.removed}
    return Difference(tuple((key, value) for key, value in {**seen, **dict(made.written)}.items() if key not in gone))


def entries_shown(
    lists: t.Mapping[str, Compared], steps: t.Iterable[t.Any]
) -> t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]]:
    """Both sides of a diff, by the names of the maps that these steps fill."""
    sides: t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]] = ({}, {})
    for step in steps:
        if isinstance(step, Fill):
            for side, rows in zip(sides, shown(lists[step.pin].filling, step.seen)):
                side[lists[step.pin].filling.name] = rows
    return sides


def shown(filling: Filling, made: Difference) -> t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]]:
    """Both sides of a diff: keys with their values, and how many are not shown."""
    rows: t.Iterator[t.Tuple[bytes, t.Optional[bytes], t.Optional[bytes]]] = itertools.chain(
        ((key, before, after) for key, before, after in made.updated),
        ((key, None, after) for key, after in made.added),
        ((key, before, None) for key, before in made.removed),
    )
    sides: t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]] = ({}, {})
    for key, *values in itertools.islice(rows, filling.limit):
        for side, value in zip(sides, values):
            if value is not None:
                side[_text(filling.how.key.decode(key))] = _values(filling, value)
    more = sum(map(len, made)) - filling.limit
    if more > 0:
        for side in sides:
            side["…"] = f"and {more} more changes"
    return sides


def _values(filling: Filling, data: bytes) -> t.Any:
    """Of a per-CPU map the values of all CPUs, unless they are the same."""
    codec = filling.how.value
    step = len(data) if len(data) == codec.size else -(-codec.size // 8) * 8
    every = [codec.decode(data[at : at + codec.size]) for at in range(0, len(data), step)]
    return every[0] if every.count(every[0]) == len(every) else every


def _text(key: t.Any) -> str:
    if isinstance(key, dict):
        return ", ".join(f"{name}: {_text(value)}" for name, value in key.items())
    return str(key)

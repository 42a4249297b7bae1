# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade keeps: the maps that the new program takes over, and what is in them. Pure.

A map is kept if it is what this kernel would make of the new object, and if each name in it, by BTF, finds its own
bytes. Maps that hold nothing between two packets are made new where they differ. Global data is carried over by name
where nothing can be counted in it meanwhile. All else that differs is refused.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MMAPABLE, MapShape
from ..libbpf.layouts import Layout, Member, misplaced, readable
from ..state.places import unescape
from .contents import Contents, Inner
from .observe import Seen
from .request import Wanted
from .steps import CopyEntries, SetVariables, Step, Value

# What user space reads from them it has read, or reads from where it waits; nothing of it is the program's state.
_PASSING = ("ringbuf", "user_ringbuf", "perf_event_array")
_INNER_MAP = 1 << 12  # BPF_F_INNER_MAP: arrays of any length
_NOTHING = Contents()
_OR_DETACH = ", or detach it first (state: detached): then each variable is carried over by name"


class Upgrade(t.NamedTuple):
    """`keep`: maps by pin. `begin`: what new maps of global data begin with, by pin. `steps` come before the swap.

    `copied`: pins of new maps that get the entries of those whose places they take.
    """

    keep: t.Dict[str, MapInfo]
    begin: t.Dict[str, bytes]
    steps: t.Tuple[Step, ...]
    warnings: t.Tuple[str, ...]
    copied: t.Tuple[str, ...] = ()


def plan_upgrade(
    wanted: Wanted,
    seen: Seen,
    shapes: t.Mapping[str, MapShape],
    held: t.Mapping[str, MapInfo],
    again: t.Container[str] = (),
) -> Upgrade:
    """Keep the running program's own maps, else what is pinned. Raises FleetError for all that cannot be kept.

    `again`: pins of maps that new ones replace, with the declared entries.
    """
    keep: t.Dict[str, MapInfo] = {}
    begin: t.Dict[str, bytes] = {}
    steps: t.List[Step] = []
    warnings: t.List[str] = []
    copied: t.List[str] = []
    refused: t.List[_Map] = []
    for pin in sorted(shapes):
        info = held.get(pin) or seen.maps.get(pin)
        if info is None:
            continue
        each = _Map(wanted, seen, pin, shapes[pin], info)
        if pin in again and each.fits_but_for_size:
            copied.append(pin)
        elif each.is_filled_again:
            warnings += each.lost_slots()
        elif each.fits:
            keep[pin] = info
            size = len(each.old.data)
            now, says = each.kept_values()
            for declared in (False, True):
                values = tuple(value for value, of_task in now if of_task == declared)
                steps += [SetVariables(pin, info.id, size, values, declared)] if values else []
            warnings += says
        elif each.shape.type in _PASSING and info.shape.type in _PASSING:
            warnings.append(
                f"{each.name} of {wanted.name} on {seen.interface} is a new map ({each.what}):"
                " what reads from it must open it again"
            )
        elif each.can_be_carried:
            begin[pin], says = each.carried()
            warnings += says
        elif each.is_resized:
            copied.append(pin)
            steps += each.copying()
            warnings.append(each.gap)
        else:
            refused.append(each)
    if refused:
        raise FleetError(
            f"cannot upgrade {wanted.name} on {seen.interface}:"
            f" {'; '.join(f'the map {each.name} has changed its {each.what}' for each in refused)};"
            " nothing was changed. Set maps: reset to start with new, empty maps"
            f"{_OR_DETACH if all(each.could_be_carried for each in refused) else ''}"
        )
    return Upgrade(keep, begin, tuple(steps), tuple(warnings), tuple(copied))


class _Map:
    """A map of the new object, beside the one that is there."""

    def __init__(self, wanted: Wanted, seen: Seen, pin: str, shape: MapShape, info: MapInfo) -> None:
        self._seen = seen
        self.name = unescape(pin)
        self.internal = wanted.object.shared_maps[pin].internal
        self.shape, self.info, self._pin, self._sizes = shape, info, pin, wanted.sizes
        self._filled = {each.pin for each in wanted.fillings}
        self._declared = {each.name: each for each in wanted.settings if each.pin == pin}
        self.old = seen.contents.get(info.id, _NOTHING)
        self.new = wanted.contents.get(pin, _NOTHING)
        self.first = self._first(pin)
        self._same_shape = _same_shape(info.shape, shape, self.internal)
        self._layouts = list(self._compared())

    def _first(self, pin: str) -> bytes:
        """What a section of global data began with; empty if that is not known. That of .bss needs no record."""
        if self.name == ".bss":
            return bytes(len(self.old.data))
        recorded = bytes.fromhex(self._seen.known.first.get(pin, "")) if self._seen.known else b""
        return recorded if len(recorded) == len(self.old.data) else b""

    @property
    def fits(self) -> bool:
        return self._same_shape and not self._layouts

    @property
    def fits_but_for_size(self) -> bool:
        same = self.info.shape._replace(max_entries=self.shape.max_entries) == self.shape
        return same and not self.internal and not self._layouts

    @property
    def is_resized(self) -> bool:
        """Whether a task gave it a different size, this one or the one before, and its entries can be copied."""
        before = self._seen.known.deployed.sizes if self._seen.known else {}
        asked = self.name in self._sizes or self.name in before
        return asked and self.fits_but_for_size and self._pin in self._seen.entries

    def copying(self) -> t.Iterator[Step]:
        """Raises FleetError if there is no room for all of them. Where the task declares entries, it fills the map."""
        entries = self._seen.entries[self._pin]
        if self._pin in self._filled:
            return
        if len(entries) > self.shape.max_entries:
            raise FleetError(
                f"{self.name} on {self._seen.interface} has {len(entries)} entries, and is to have room for"
                f" {self.shape.max_entries}: nothing was changed. Set maps: reset to start with an empty map"
            )
        yield CopyEntries(self._pin, self.info.id, len(entries))

    @property
    def gap(self) -> str:
        return (
            f"{self.name} on {self._seen.interface} is a new map, with room for {self.shape.max_entries} entries:"
            " what the running program writes into the old one while its entries are copied is not in it"
        )

    @property
    def what(self) -> str:
        """What has changed: the shape or the layout, with the details."""
        shown = self._layouts[:4] + (["…"] if len(self._layouts) > 4 else [])
        if not self._same_shape:
            more = f"; {', '.join(shown)}" if shown else ""
            return f"shape (it is {self.info.shape}; the new object needs {self.shape}{more})"
        return f"layout ({', '.join(shown)})"

    def _compared(self) -> t.Iterator[str]:
        yield from _differ(self.old.key, self.new.key, "the key")
        yield from _differ(self.old.value, self.new.value, "" if self.internal else "the value")
        if self.old.inner and self.new.inner:
            yield from _inner(self.old.inner, self.new.inner)

    # Arrays of programs

    @property
    def is_filled_again(self) -> bool:
        """Whether the object itself fills it with its programs: if it were kept, it would call the old ones."""
        return self.shape.type == "prog_array" and bool(self.new.slots)

    def lost_slots(self) -> t.Iterator[str]:
        lost = sorted(self.old.slots - self.new.slots)
        if lost:
            yield (
                f"{self.name} on {self._seen.interface} is filled by the new object; what was in its"
                f" {_listed('slot', lost)} is not kept"
            )

    # Global data

    def kept_values(self) -> t.Tuple[t.List[t.Tuple[Value, bool]], t.List[str]]:
        """Variables that get another value, and whether the task says so; else it is the object's new first value.

        And a warning for those that keep a different one.
        """
        now: t.List[t.Tuple[Value, bool]] = []
        says: t.List[str] = []
        if self.shape.type == "prog_array" and self.old.slots:
            says.append(
                f"{self.name} on {self._seen.interface} still calls the programs in its"
                f" {_listed('slot', sorted(self.old.slots))}: they are not the new object's"
            )
        for setting in self._declared.values():
            setting.check_known(self.old.data)
        for variable in self._variables():
            value = _bytes(self.old.data, variable)
            chosen, words = self._chosen(variable, value)
            declared = self._declared.get(variable.name)
            if declared:
                for change in declared.changes(self.old.data):
                    declared.check_writable(self.info)
                    now.append((Value(declared.name, *change, declared.text), True))
                continue
            if chosen != value and not self.info.shape.flags & MMAPABLE:
                words, chosen = (self._stays(variable, value), value)  # static ones of libbpf 1.1 and later
            if chosen != value:
                text = readable(variable.layout, chosen)
                now.append((Value(variable.name, variable.offset // 8, value, chosen, text), False))
            says += words
        return now, says

    @property
    def can_be_carried(self) -> bool:
        """Whether a new map can take over this one's variables, as nothing counts in them while they are copied."""
        unchanged = self.name != ".bss" and self.old.data == self.first
        return self.could_be_carried and (unchanged or not self._seen.attached)

    @property
    def could_be_carried(self) -> bool:
        return bool(self.internal and self.old.data and self.old.value and self.new.data and self.new.value)

    def carried(self) -> t.Tuple[bytes, t.List[str]]:
        data, says = bytearray(self.new.data), []
        old, new = ({each.name: each for each in it.members} if it else {} for it in (self.old.value, self.new.value))
        for variable in new.values():
            before = old.get(variable.name)
            if before and not list(misplaced(before.layout, variable.layout)):
                value, words = self._chosen(variable, _bytes(self.old.data, before), _bytes(self.first, before))
                data[variable.offset // 8 : variable.offset // 8 + len(value)] = value
                says += words
            elif before:
                value, words = self._carried_in_part(before, variable)
                data[variable.offset // 8 : variable.offset // 8 + len(value)] = value
                says += words
        gone = ", ".join(sorted(old.keys() - new.keys()))
        if gone:
            says.append(f"{gone} of {self.name} on {self._seen.interface} is gone: the new object has no such variable")
        return bytes(data), says

    def _carried_in_part(self, before: Member, variable: Member) -> t.Tuple[bytes, t.List[str]]:
        """What finds its place in a variable of a different type: numbers that fit, and members by name."""
        from ..values.carry import carry  # imported here, because a target compiles what it imports

        first = _bytes(self.new.data, variable)
        if variable.name in self._declared:
            return self._declared[variable.name].on(first), []
        made = carry(before.layout, variable.layout, _bytes(self.old.data, before), first, variable.name)
        lost = [*made.refused, *(f"{name} is gone" for name in made.dropped)]
        where = f"{variable.name} in {self.name} on {self._seen.interface}"
        if not made.carried:
            return first, [f"{where} starts again: its type differs"]
        return made.data, [
            f"{where} is carried over by name, as its type differs",
            *(f"{where}: {each}" for each in lost),
        ]

    def _variables(self) -> t.Iterator[Member]:
        if self.internal and self.old.data and self.new.data and self.new.value:
            yield from self.new.value.members

    def _chosen(self, variable: Member, value: bytes, first: t.Optional[bytes] = None) -> t.Tuple[bytes, t.List[str]]:
        """The value to begin with: the task's; the new object's if nobody has changed the old one's; what is there."""
        if variable.name in self._declared:
            return self._declared[variable.name].on(value), []
        new = _bytes(self.new.data, variable)
        first = _bytes(self.first, variable) if first is None else first
        if value == new or first == new:
            return value, []  # the source has not changed
        if self.first and value == first:
            return new, []
        return value, self._stays(variable, value)

    def _stays(self, variable: Member, value: bytes) -> t.List[str]:
        new = _bytes(self.new.data, variable)
        return [
            f"{variable.name} in {self.name} on {self._seen.interface} stays {readable(variable.layout, value)}, the"
            f" object says {readable(variable.layout, new)}; maps: reset in the task that upgrades takes the object's"
        ]


def _same_shape(old: MapShape, new: MapShape, internal: bool) -> bool:
    if internal:  # whether it can be mapped into memory is libbpf's choice, which differs between releases
        old, new = (each._replace(flags=each.flags & ~MMAPABLE) for each in (old, new))
    return old == new


def _differ(old: t.Optional[Layout], new: t.Optional[Layout], name: str) -> t.Iterator[str]:
    """Without BTF only sizes can be compared."""
    if old and new:
        for each in misplaced(old, new):
            yield f"{name}: {each}" if name else each


def _inner(old: Inner, new: Inner) -> t.Iterator[str]:
    """As the kernel compares a map with what a map of maps takes (bpf_map_meta_equal), and the layouts."""
    was, now = old.shape, new.shape
    if was.type != "array" or was.flags & _INNER_MAP:
        was = was._replace(max_entries=now.max_entries)
    if was._replace(extra=0) != now._replace(extra=0):
        yield f"the maps in it: they are {old.shape}, the new object needs {new.shape}"
    yield from _differ(old.key, new.key, "the key of the maps in it")
    yield from _differ(old.value, new.value, "the value of the maps in it")


def _bytes(data: bytes, variable: Member) -> bytes:
    begin = variable.offset // 8
    return data[begin : begin + variable.layout.size]


def _listed(word: str, numbers: t.Sequence[int]) -> str:
    return (
        f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:8]))}{' …' if len(numbers) > 8 else ''}"
    )

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
from .steps import SetVariables, Step, Value

# What user space reads from them it has read, or reads from where it waits; nothing of it is the program's state.
_PASSING = ("ringbuf", "user_ringbuf", "perf_event_array")
_INNER_MAP = 1 << 12  # BPF_F_INNER_MAP: arrays of any length
_NOTHING = Contents()
_OR_DETACH = ", or detach it first (state: detached): then each variable is carried over by name"


class Upgrade(t.NamedTuple):
    """`keep`: maps by pin. `begin`: what new maps of global data begin with, by pin. `steps` come before the swap."""

    keep: t.Dict[str, MapInfo]
    begin: t.Dict[str, bytes]
    steps: t.Tuple[Step, ...]
    warnings: t.Tuple[str, ...]


def plan_upgrade(
    wanted: Wanted, seen: Seen, shapes: t.Mapping[str, MapShape], held: t.Mapping[str, MapInfo]
) -> Upgrade:
    """Keep the running program's own maps, else what is pinned. Raises FleetError for all that cannot be kept."""
    keep: t.Dict[str, MapInfo] = {}
    begin: t.Dict[str, bytes] = {}
    steps: t.List[Step] = []
    warnings: t.List[str] = []
    refused: t.List[_Map] = []
    for pin in sorted(shapes):
        info = held.get(pin) or seen.maps.get(pin)
        if info is None:
            continue
        each = _Map(wanted, seen, pin, shapes[pin], info)
        if each.is_filled_again:
            warnings += each.lost_slots()
        elif each.fits:
            keep[pin] = info
            now, says = each.kept_values()
            steps += [SetVariables(pin, info.id, len(each.old.data), tuple(now))] if now else []
            warnings += says
        elif each.shape.type in _PASSING and info.shape.type in _PASSING:
            warnings.append(
                f"{each.name} of {wanted.name} on {seen.interface} is a new map ({each.what}):"
                " what reads from it must open it again"
            )
        elif each.can_be_carried:
            begin[pin], says = each.carried()
            warnings += says
        else:
            refused.append(each)
    if refused:
        raise FleetError(
            f"cannot upgrade {wanted.name} on {seen.interface}:"
            f" {'; '.join(f'the map {each.name} has changed its {each.what}' for each in refused)};"
            " nothing was changed. Set maps: reset to start with new, empty maps"
            f"{_OR_DETACH if all(each.could_be_carried for each in refused) else ''}"
        )
    return Upgrade(keep, begin, tuple(steps), tuple(warnings))


class _Map:
    """A map of the new object, beside the one that is there."""

    def __init__(self, wanted: Wanted, seen: Seen, pin: str, shape: MapShape, info: MapInfo) -> None:
        self._seen = seen
        self.name = unescape(pin)
        self.internal = wanted.object.shared_maps[pin].internal
        self.shape, self.info = shape, info
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

    def kept_values(self) -> t.Tuple[t.List[Value], t.List[str]]:
        """Variables that get their new first value, and a warning for those that keep a different one."""
        now: t.List[Value] = []
        says: t.List[str] = []
        if self.shape.type == "prog_array" and self.old.slots:
            says.append(
                f"{self.name} on {self._seen.interface} still calls the programs in its"
                f" {_listed('slot', sorted(self.old.slots))}: they are not the new object's"
            )
        for variable in self._variables():
            value = _bytes(self.old.data, variable)
            chosen, words = self._chosen(variable, value)
            if chosen != value and not self.info.shape.flags & MMAPABLE:
                words, chosen = (self._stays(variable, value), value)  # static ones of libbpf 1.1 and later
            if chosen != value:
                text = readable(variable.layout, chosen)
                now.append(Value(variable.name, variable.offset // 8, value, chosen, text))
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
                says.append(f"{variable.name} in {self.name} on {self._seen.interface} starts again: its type differs")
        gone = ", ".join(sorted(old.keys() - new.keys()))
        if gone:
            says.append(f"{gone} of {self.name} on {self._seen.interface} is gone: the new object has no such variable")
        return bytes(data), says

    def _variables(self) -> t.Iterator[Member]:
        if self.internal and self.old.data and self.new.data and self.new.value:
            yield from self.new.value.members

    def _chosen(self, variable: Member, value: bytes, first: t.Optional[bytes] = None) -> t.Tuple[bytes, t.List[str]]:
        """The value to begin with: the new object's if nobody has changed the old one's, else what is there."""
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

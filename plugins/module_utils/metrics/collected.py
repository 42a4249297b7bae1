# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of each deployed program, as metrics."""

from __future__ import annotations

import contextlib
import itertools
import typing as t

from ..counting import counters
from ..deploy.observe import Seen, observe_settled
from ..entry import message_of
from ..errors import FleetError
from ..libbpf.elements import Elements
from ..persist.manifests import all_places
from ..state.identity import root_of_namespace
from ..state.places import Place, map_pin, pinned_names, places_of, unescape
from ..state.trusted import check_pins
from .declared import PREFIX, Declared, Mapped
from .exposition import Family, Number
from .mapped import series_of

if t.TYPE_CHECKING:
    from ..libbpf.info import MapInfo
    from ..libbpf.library import Libbpf

# Those whose entries come and go. To count them is to walk through them, which takes 0.1 s for so many.
_FILLED = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "lpm_trie")
_WALKED = 1 << 16

_FAMILIES = (
    ("received_packets_total", "counter", "Packets that the program has counted."),
    ("received_bytes_total", "counter", "Bytes of these packets, from the Ethernet header to the payload."),
    ("program_info", "gauge", "The program that runs: its mode, its tag and a digest of its constants. Always 1."),
    ("program_attached", "gauge", "Whether the deployed program runs on the interface."),
    ("program_runs_total", "counter", "Runs of the program while the sysctl kernel.bpf_stats_enabled was 1."),
    ("program_run_seconds_total", "counter", "Time in these runs."),
    ("map_entries", "gauge", f"Entries of a hash or an LPM trie that has less than {_WALKED}."),
    ("map_max_entries", "gauge", "Entries that a hash or an LPM trie has room for."),
    ("metrics_series_dropped", "gauge", "Entries of a declared map beyond series_limit, of which nothing is written."),
)


class Collected:
    """Families of metrics, and a sentence for each thing that could not be read."""

    def __init__(self, series_limit: int) -> None:
        self.errors: t.List[str] = []
        self._limit = series_limit
        self._own = {name: Family(PREFIX + name, kind, words, {}) for name, kind, words in _FAMILIES}
        self._mapped: t.Dict[str, Family] = {}

    @property
    def families(self) -> t.List[Family]:
        return [*self._own.values(), *self._mapped.values()]

    @contextlib.contextmanager
    def reading(self, what: str) -> t.Iterator[None]:
        """An error is one of `what`: it ends what is in this block."""
        try:
            yield
        except (FleetError, OSError, ValueError) as error:
            self.errors.append(f"{what}: {message_of(error)}")

    def program(self, lib: Libbpf, seen: Seen, persistent: bool) -> None:
        where = {"program": seen.place.name, "interface": seen.interface}
        if seen.ours or persistent:  # else a task has detached it, and nobody misses it
            self._add("program_attached", int(seen.attached), **where)
        running = seen.running
        if running:
            digest = seen.variables_digest or ""
            self._add("program_info", 1, **where, mode=seen.mode or "", tag=running.tag, variables=digest)
            if running.run_cnt:
                self._add("program_runs_total", running.run_cnt, **where)
                self._add("program_run_seconds_total", running.run_time_ns / 1e9, **where)
        reading = counters.read(lib, seen)
        if reading:
            self._add("received_packets_total", reading.packets, **where)
            self._add("received_bytes_total", reading.bytes, **where)

    def filled(self, lib: Libbpf, seen: Seen, pin: str, info: MapInfo) -> None:
        """How full a map is."""
        if info.shape.type not in _FILLED:
            return
        # An LRU map is full in the long run, so that must be told apart.
        where = {"program": seen.place.name, "interface": seen.interface, "map": unescape(pin), "type": info.shape.type}
        self._add("map_max_entries", info.shape.max_entries, **where)
        with lib.get(seen.place.map(pin)) as fd:
            elements = itertools.chain.from_iterable(Elements(lib, fd, info.shape).read())
            entries = sum(1 for _each in itertools.islice(elements, _WALKED))
        if entries < _WALKED:
            self._add("map_entries", entries, **where)

    def mapped(self, lib: Libbpf, seen: Seen, mapped: Mapped) -> None:
        """The entries of a declared map."""
        path = seen.place.map(map_pin(mapped.map))
        where = {"program": seen.place.name, "interface": seen.interface}
        with lib.get(path) as fd:
            found = series_of(lib, fd, path, mapped)
            for key, numbers in itertools.islice(found, self._limit):
                for member, value in numbers:
                    self._family(mapped, member).put(value, (*where.items(), *key))
            dropped = sum(1 for _each in itertools.islice(found, _WALKED))
        self._add("metrics_series_dropped", dropped, **where, map=mapped.map)

    def _add(self, name: str, value: Number, **labels: str) -> None:
        self._own[name].put(value, tuple(labels.items()))

    def _family(self, mapped: Mapped, member: str) -> Family:
        name = "_".join(filter(None, [mapped.metric, member, "total" if mapped.type == "counter" else ""]))
        return self._mapped.setdefault(name, Family(PREFIX + name, mapped.type, mapped.help, {}))


def collect(lib: Libbpf, declared: Declared) -> Collected:
    """Of all programs in this network namespace. What cannot be read is an error, and does not keep out the others."""
    found, persistent = Collected(declared.series_limit), set(all_places())
    for seen in _observed(lib, _places(declared.pin_root, persistent), found):
        place, where = seen.place, f"{seen.place.name} on {seen.interface}"
        with found.reading(where):
            check_pins([place], "to read")
            found.program(lib, seen, place in persistent)
            for pin, info in seen.maps.items():
                with found.reading(f"{unescape(pin)} of {where}"):
                    found.filled(lib, seen, pin, info)
            for mapped in declared.maps:
                if mapped.program == place.name and seen.pinned:
                    with found.reading(f"{mapped.map} of {where}"):
                        found.mapped(lib, seen, mapped)
    return found


def deployed_names(pin_root: str, persistent: t.Iterable[Place]) -> t.Set[str]:
    """Of the programs in this network namespace. `persistent`: those that are restored after a reboot."""
    root = root_of_namespace(pin_root)
    return {*pinned_names(root), *(place.name for place in persistent if place.root == root)}


def _places(pin_root: str, persistent: t.Iterable[Place]) -> t.List[Place]:
    root = root_of_namespace(pin_root)
    return [place for name in sorted(deployed_names(pin_root, persistent)) for place in places_of(root, name)]


def _observed(lib: Libbpf, places: t.Sequence[Place], found: Collected) -> t.Iterator[Seen]:
    """All at once, which asks the kernel for its links only once; where that fails, one by one."""
    try:
        yield from observe_settled(lib, places)
        return
    except (FleetError, OSError, ValueError):
        pass
    for place in places:
        with found.reading(f"{place.name} on {place.interface}"):
            yield from observe_settled(lib, [place])

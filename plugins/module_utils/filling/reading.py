# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_map_info returns: the entries of maps, as data."""

from __future__ import annotations

import contextlib
import itertools
import sys
import typing as t

from ..entries.listed import listed_in_task
from ..entries.typed import Typed, encoded
from ..entries.writing import TYPES
from ..errors import FleetError
from ..libbpf.elements import PER_CPU, Elements
from ..libbpf.library import Libbpf
from ..values import keys
from ..values.codec import codec
from .named import named
from .opened import Named

Facts = t.Dict[str, t.Any]
Read = t.Callable[[bytes], t.Any]

# Their values are ids of programs and maps, of which the kernel has no types, or interfaces.
_OF_NUMBERS = ("prog_array", "array_of_maps", "hash_of_maps", "devmap", "devmap_hash", "cpumap", "xskmap")


def read_maps(lib: Libbpf, options: t.Mapping[str, t.Any]) -> t.List[Facts]:
    """Raises FleetError if a map that is named does not exist."""
    if options["limit"] < 0:
        raise FleetError(f"limit is {options['limit']}: give 0 or more")
    with contextlib.ExitStack() as held:
        return [_facts(lib, each, options) for each in named(lib, options, held, "to read")]


def _facts(lib: Libbpf, found: Named, options: t.Mapping[str, t.Any]) -> Facts:
    info = found.info
    facts: Facts = {
        "interface": found.interface,
        "id": info.id,
        "name": info.name,
        "type": info.shape.type,
        "key_type": _type_name(found, info.key_type),
        "value_type": _type_name(found, info.value_type),
        "max_entries": info.shape.max_entries,
        "pin_path": found.path or None,
        "entries_total": None,
        "truncated": False,
        "entries": [],
        "problem": None,
    }
    if info.shape.type not in (*TYPES, *_OF_NUMBERS):
        facts["problem"] = f"a map of type {info.shape.type} has no entries that can be read without taking them out"
        return facts
    elements = Elements(lib, found.fd, info.shape)
    facts["problem"] = _padding(found)
    how, section = found.typed(options["formats"]), _of_section(found)
    key, value = how.key.decode, section or value_reader(found, how, elements, options["cpus"])
    if section:
        key = _number
    if info.shape.type in _OF_NUMBERS:
        key, value = _number, _number
    pairs: t.Iterable[t.Tuple[bytes, bytes]]
    if options["keys"] is None:
        portions = elements.read()
        pairs = itertools.chain.from_iterable(portions)
    else:
        listed = listed_in_task({**options, "entries": None, "state": "absent"})
        encoded_keys = (encoded(listed, how.key.encode, each.numbers, each.keys) for each in listed.portions())
        pairs = elements.lookup(itertools.chain.from_iterable(encoded_keys)).items()
    total = 0
    for total, (one, other) in enumerate(pairs, 1):
        if total <= options["limit"]:
            facts["entries"].append({"key": key(one), "value": value(other)})
    facts["entries_total"], facts["truncated"] = total, total > options["limit"]
    return facts


def _padding(found: Named) -> t.Optional[str]:
    """A key with bytes that belong to no member is only the same if those are the same, too."""
    if not found.types or not found.info.key_type:
        return None
    holes = "; ".join(keys.holes(found.types.layout(found.info.key_type)))
    if not holes:
        return None
    return (
        f"the key has padding ({holes}): a program that does not set it to 0 adds a second entry for the same members"
    )


def _type_name(found: Named, number: int) -> t.Optional[str]:
    return found.types.type_name(number) if found.types and number else None


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], sys.byteorder)


def value_reader(found: Named, how: Typed, elements: Elements, cpus: str) -> Read:
    """Of a value; of a per-CPU map the sum of all CPUs', or the list of them."""
    decode = how.value.decode
    size, each = found.info.shape.value_size, elements.value_size // elements.cpus
    if found.info.shape.type not in PER_CPU:
        return decode

    def read(data: bytes) -> t.Any:
        every = [decode(data[at : at + size]) for at in range(0, len(data), each)]
        return summed(every) if cpus == "sum" else every

    return read


def _of_section(found: Named) -> t.Optional[Read]:
    """A map of global data has one value: all variables of a section."""
    types, section = found.types, found.section
    if not types or not section:
        return None
    codecs = [
        (each.name, each.offset // 8, codec(types, each.layout, each.name, tag=each.tag)) for each in section.members
    ]
    return lambda data: {name: one.decode(data[at : at + one.size]) for name, at, one in codecs}


def summed(values: t.Sequence[t.Any]) -> t.Any:
    """Numbers are added up, member by member; what is no number is that of all CPUs, or the list of theirs."""
    first = values[0]
    if all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values):
        return sum(values)
    if all(isinstance(each, dict) and each.keys() == first.keys() for each in values):
        return {name: summed([each[name] for each in values]) for name in first}
    if all(isinstance(each, list) and len(each) == len(first) for each in values):
        return [summed(each) for each in zip(*values)]
    return first if all(each == first for each in values) else list(values)

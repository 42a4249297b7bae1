# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the maps of an interface and of an object, as far as an upgrade must know it. Changes nothing."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import errno
import itertools
import struct
import sys
import typing as t

from ..libbpf import maps
from ..libbpf.info import MapInfo, map_info
from ..libbpf.kinds import MAPS_OF_MAPS, RDONLY_PROG, MapShape, as_made
from ..libbpf.layouts import Layout, Layouts
from ..libbpf.library import BpfError, Libbpf
from ..libbpf.loaded_btf import loaded_btf
from ..libbpf.objects import Object, open_object
from ..objects.elf import read_elf
from ..objects.image import Image
from ..state.places import unescape

_SLOTS = 4096  # of an array of maps or programs that are looked at
_LARGEST = 1 << 20  # bytes of a section whose values are looked at, on each of perhaps hundreds of interfaces
_RELOCATION = struct.Struct("=QQ")


class Inner(t.NamedTuple):
    """The maps in a map of maps."""

    shape: MapShape
    key: t.Optional[Layout]
    value: t.Optional[Layout]


class Contents(t.NamedTuple):
    """What is in a map; key and value are None without BTF.

    `data`: the bytes of global data, of an object those that it begins with. `inner`: None if there is none to look
    at. `slots`: those of an array of programs that are filled, of an object those that it fills by itself.
    """

    key: t.Optional[Layout] = None
    value: t.Optional[Layout] = None
    data: bytes = b""
    inner: t.Optional[Inner] = None
    slots: t.FrozenSet[int] = frozenset()


Cache = t.Dict[t.Union[int, bytes], t.Optional[Layouts]]  # by id and by content


def contents_of_object(lib: Libbpf, image: Image) -> t.Dict[str, Contents]:
    """Of the maps of an object that outlive the program, by pin."""
    facts = image.facts
    with open_object(lib, image.content, facts.name) as opened:
        types = _layouts(opened.btf)
        return {pin: _of_object(opened, image, types, pin, each.name) for pin, each in facts.shared_maps.items()}


def contents_of_maps(lib: Libbpf, infos: t.Iterable[MapInfo], cache: Cache) -> t.Dict[int, Contents]:
    """Of maps in the kernel that outlive a program, by id. Those that disappear meanwhile are left out."""
    found: t.Dict[int, Contents] = {}
    for info in infos:
        if info.id not in found and not (info.shape.type == "array" and info.shape.flags & RDONLY_PROG):
            try:
                with lib.map_by_id(info.id) as fd:
                    found[info.id] = _of_map(lib, fd, info, cache)
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise
    return found


def _layouts(btf: bytes) -> t.Optional[Layouts]:
    try:
        return Layouts(btf) if btf else None
    except ValueError:
        return None  # kinds of types that are newer than this collection: as without BTF


def _layout(types: t.Optional[Layouts], number: int) -> t.Optional[Layout]:
    try:
        return types.layout(number) if types and number else None
    except ValueError:
        return None


def _section(types: t.Optional[Layouts], name: str) -> t.Optional[Layout]:
    try:
        return types.section(name) if types else None
    except ValueError:
        return None


def _of_object(opened: Object, image: Image, types: t.Optional[Layouts], pin: str, name: str) -> Contents:
    bpf_map = image.facts.shared_maps[pin]
    if bpf_map.internal:
        data = image.first_value(pin) if bpf_map.shape.value_size <= _LARGEST else b""
        return Contents(value=_section(types, unescape(pin)), data=data)
    numbers = opened.types(name)
    inner = None
    if numbers.inner:
        shape, key, value = numbers.inner
        inner = Inner(as_made(shape, cpus=1), _layout(types, key), _layout(types, value))
    slots = filled_slots(image, types, name) if bpf_map.shape.type == "prog_array" else frozenset()
    return Contents(_layout(types, numbers.key), _layout(types, numbers.value), inner=inner, slots=slots)


def filled_slots(image: Image, types: t.Optional[Layouts], name: str) -> t.FrozenSet[int]:
    """The slots that the source fills with `.values`: each is a relocation within the map's definition."""
    section = _section(types, ".maps")
    definition = next((each for each in section.members if each.name == name), None) if section else None
    values = next((each for each in definition.layout.members if each.name == "values"), None) if definition else None
    if not section or not definition or not values:
        return frozenset()
    begin = (definition.offset + values.offset) // 8
    # Its size there is without the slots, so it ends where the next one begins.
    end = min((each.offset // 8 for each in section.members if each.offset > definition.offset), default=sys.maxsize)
    relocations = read_elf(image.content, image.facts.path).sections.get(".rel.maps", b"")
    places = (at for at, _info in _RELOCATION.iter_unpack(relocations))
    return frozenset((at - begin) // 8 for at in places if begin <= at < end)


def _of_map(lib: Libbpf, fd: int, info: MapInfo, cache: Cache) -> Contents:
    types = _types_of(lib, info.btf_id, cache) if info.btf_id else None
    value = _layout(types, info.value_type)
    data = b""
    if value and value.kind == "datasec" and info.shape.value_size <= _LARGEST:
        data = maps.lookup(lib, fd, bytes(4), info.shape.value_size)
    inner, slots = None, []
    if info.shape.type in MAPS_OF_MAPS:
        inner = next(_inner(lib, fd, info, cache), None)
    elif info.shape.type == "prog_array":
        slots = [int.from_bytes(key, sys.byteorder) for key, _id in _values(lib, fd, info)]
    return Contents(_layout(types, info.key_type), value, data, inner, frozenset(slots))


def _types_of(lib: Libbpf, btf_id: int, cache: Cache) -> t.Optional[Layouts]:
    """All maps of a program have the same BTF; those of its instances on other interfaces have the same bytes."""
    if btf_id not in cache:
        data = loaded_btf(lib, btf_id)
        if data not in cache:
            cache[data] = _layouts(data)
        cache[btf_id] = cache[data]
    return cache[btf_id]


def _values(lib: Libbpf, fd: int, info: MapInfo) -> t.Iterator[t.Tuple[bytes, bytes]]:
    """Keys that have a value, and the value: the id of a map or program."""
    for key in itertools.islice(maps.keys(lib, fd, info.shape.key_size), _SLOTS):
        try:
            yield key, maps.lookup(lib, fd, key, 4)
        except BpfError as error:
            if error.errno != errno.ENOENT:
                raise


def ids_in_slots(lib: Libbpf, fd: int, info: MapInfo) -> t.Set[int]:
    """Of the maps in a map of maps."""
    return {int.from_bytes(number, sys.byteorder) for _key, number in _values(lib, fd, info)}


def _inner(lib: Libbpf, fd: int, info: MapInfo, cache: Cache) -> t.Iterator[Inner]:
    for _key, number in _values(lib, fd, info):
        with contextlib.suppress(BpfError), lib.map_by_id(int.from_bytes(number, sys.byteorder)) as inner:
            found = map_info(lib, inner)
            inside = _of_map(lib, inner, found, cache)
            yield Inner(found.shape, inside.key, inside.value)

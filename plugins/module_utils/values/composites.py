# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs of arrays, and of structs and unions."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import itertools
import struct
import typing as t

from .addresses import ADDRESSES, address_of
from .columns import NOT_PLAIN, PackMany, check_texts, columns_of, each_once, interleaved
from .numbers import Number
from .refused import ValueRefused, listed, refuse, shown
from .scalars import Codec, of_hex, packing

Parts = t.Tuple[bytes, bytes]


class Place(t.NamedTuple):
    """A member of a struct: offset and width in bits. It has a number if it is a bit field, else a codec."""

    name: str
    offset: int
    width: int
    codec: t.Optional[Codec] = None
    number: t.Optional[Number] = None


def array(element: Codec, length: int, order: str, octets: bool) -> Codec:
    """`octets`: the elements are numbers, so that an address may be given, or if they are bytes, hexadecimal digits."""
    each, size = element.size, element.size * length
    numbers = packing(order, f"{length}{element.letter}") if element.letter else None

    def part(value: t.Any) -> Parts:
        """A list is filled up with zeroes; of a mapping only the elements that it names are."""
        whole = not isinstance(value, dict)
        data, mask = bytearray(size), bytearray(b"\xff" if whole else b"\0") * size
        for given, one in _elements(value, length):
            try:
                index = int(given)
                if not 0 <= index < length:
                    raise ValueError
            except (ValueError, TypeError):
                raise refuse(given, f"is not an index in 0..{length - 1}") from None
            try:
                begin = index * each
                data[begin : begin + each], mask[begin : begin + each] = element.part(one)
            except ValueRefused as error:
                raise error.within(f"[{index}]") from None
        return bytes(data), bytes(mask)

    def of_text(value: str) -> bytes:
        found = address_of(value, size) or (of_hex(value, size) if each == 1 else None)
        return found or part(value)[0]

    def encode(value: t.Any) -> bytes:
        if numbers and isinstance(value, list) and len(value) == length:
            try:
                return numbers.pack(*value)
            except struct.error:
                pass  # not only numbers, or one out of bounds
        return of_text(value) if octets and isinstance(value, str) else part(value)[0]

    def decode(data: bytes) -> t.Any:
        if numbers:
            return list(numbers.unpack(data))
        return [element.decode(data[at : at + each]) for at in (range(0, size, each) if each else [0] * length)]

    def part_or_text(value: t.Any) -> Parts:
        return (of_text(value), b"\xff" * size) if octets and isinstance(value, str) else part(value)

    many = _packing_arrays(element, length, size, of_text if octets else None)
    return Codec(size, encode, part_or_text, decode, pack_many=many)


def _packing_arrays(
    element: Codec, length: int, size: int, of_text: t.Optional[t.Callable[[str], bytes]]
) -> t.Optional[PackMany]:
    """Of whole lists, or all of texts."""
    pack_elements = element.pack_many
    if not pack_elements or not size:
        return None
    pack_texts = each_once(of_text) if of_text else None

    def pack_many(given: t.Sequence[t.Any]) -> bytes:
        if pack_texts and isinstance(given[0], str):
            check_texts(given)
            try:
                return ADDRESSES[size](given)
            except NOT_PLAIN:
                return pack_texts(given)
        if set(map(type, given)) != {list} or set(map(len, given)) != {length}:
            raise ValueError
        return pack_elements(list(itertools.chain.from_iterable(given)))

    return pack_many


def _elements(value: t.Any, length: int) -> t.Iterable[t.Tuple[t.Any, t.Any]]:
    if isinstance(value, dict):
        return value.items()
    if not isinstance(value, (list, tuple)):
        raise refuse(value, f"is not a list of {length}")
    if len(value) > length:
        raise ValueRefused(f"a list of {len(value)}", f"is longer than the array, which has {length}")
    return enumerate(value)


def structure(name: str, size: int, places: t.Sequence[Place], order: str, whole: bool) -> Codec:
    """`name` as in C. `whole`: a value must name all members, or of those that share bytes one."""
    places = sorted(places, key=lambda each: each.offset)
    ends = [0]
    for each in places:
        ends.append(max(ends[-1], each.offset + each.width))
    if all(each.codec and each.offset >= end for each, end in zip(places, ends)):
        return _apart(name, size, places, order, whole)
    return _in_bits(name, size, places, order, whole)


def _apart(name: str, size: int, places: t.Sequence[Place], order: str, whole: bool) -> Codec:
    """A struct whose members do not share bytes."""
    codecs = {each.name: t.cast(Codec, each.codec) for each in places}
    begins = {each.name: each.offset // 8 for each in places}
    letters, at = "", 0
    for member, codec in codecs.items():
        letters += f"{begins[member] - at}x{codec.letter or f'{codec.size}s'}"
        at = begins[member] + codec.size
    packed = packing(order, f"{letters}{size - at}x")
    names = tuple(codecs)
    encoders = [(member, None if codec.letter else codec.encode) for member, codec in codecs.items()]
    others = [(member, codec.decode) for member, codec in codecs.items() if not codec.letter]

    def part(value: t.Any) -> Parts:
        _check_names(name, value, codecs)
        if whole:
            _check_all([each for each in names if each not in value], value)
        data, mask = bytearray(size), bytearray(size)
        for member, given in value.items():
            begin, codec = begins[member], codecs[member]
            try:
                data[begin : begin + codec.size], mask[begin : begin + codec.size] = codec.part(given)
            except ValueRefused as error:
                raise error.within(member) from None
        return bytes(data), bytes(mask)

    def encode(value: t.Any) -> bytes:
        try:
            if len(value) == len(names):
                return packed.pack(*[coder(value[member]) if coder else value[member] for member, coder in encoders])
        except (struct.error, TypeError, KeyError, ValueRefused):
            pass  # part() finds out what is wrong, and whether it is
        return part(value)[0]

    def decode(data: bytes) -> t.Any:
        found = dict(zip(names, packed.unpack(data)))
        for member, coder in others:
            found[member] = coder(found[member])
        return found

    return Codec(size, encode, part, decode, pack_many=_packing_members(size, codecs, begins, whole))


def _packing_members(
    size: int, codecs: t.Mapping[str, Codec], begins: t.Mapping[str, int], whole: bool
) -> t.Optional[PackMany]:
    packers = {member: codec.pack_many for member, codec in codecs.items() if codec.pack_many}
    if len(packers) < len(codecs):
        return None

    def pack_many(given: t.Sequence[t.Any]) -> bytes:
        columns = columns_of(given)
        if whole and len(columns) < len(codecs):
            raise ValueError
        made = ((begins[name], codecs[name].size, packers[name](column)) for name, column in columns.items())
        return interleaved(size, len(given), made)

    return pack_many


def _in_bits(name: str, size: int, places: t.Sequence[Place], order: t.Any, whole: bool) -> Codec:
    """A union, or a struct with bit fields or members that share bytes: as a number in which each member is shifted."""
    members = {each.name: each for each in places}
    shifts = {each.name: each.offset if order == "little" else 8 * size - each.offset - each.width for each in places}

    def bits_of(place: Place, value: t.Any) -> t.Tuple[int, int]:
        if place.number:
            return place.number.to_bits(value), (1 << place.width) - 1
        codec = t.cast(Codec, place.codec)
        if not codec.parted:
            return int.from_bytes(codec.encode(value), order), (1 << place.width) - 1
        data, mask = codec.part(value)
        return int.from_bytes(data, order), int.from_bytes(mask, order)

    def part(value: t.Any) -> Parts:
        _check_names(name, value, members)
        total = named = 0
        for member, given in value.items():
            try:
                bits, mask = bits_of(members[member], given)
                bits, mask = bits << shifts[member], mask << shifts[member]
                if (total ^ bits) & named & mask:
                    raise refuse(
                        given, f"contradicts what shares its bytes: {listed(each for each in value if each != member)}"
                    )
            except ValueRefused as error:
                raise error.within(member) from None
            total, named = total | bits, named | mask
        if whole:
            _check_all([each for each in members if not touched(each, named)], value)
        return total.to_bytes(size, order), named.to_bytes(size, order)

    def touched(member: str, named: int) -> bool:
        ones = (1 << members[member].width) - 1
        return not ones or bool(named & ones << shifts[member])

    def decode(data: bytes) -> t.Any:
        total, found = int.from_bytes(data, order), {}
        for member, place in members.items():
            if place.number:
                found[member] = place.number.of_bits(total >> shifts[member] & (1 << place.width) - 1)
            elif place.codec:
                begin = place.offset // 8
                found[member] = place.codec.decode(data[begin : begin + place.codec.size])
        return found

    return Codec(size, lambda value: part(value)[0], part, decode)


def _check_names(name: str, value: t.Any, there: t.Iterable[str]) -> None:
    if not isinstance(value, dict):
        raise refuse(value, f"is not a mapping with members of {name}: {listed(there)}")
    for member in value:
        if member not in there:
            raise refuse(member, f"is not a member of {name}; it has {listed(there)}")


def _check_all(missing: t.Sequence[str], value: t.Any) -> None:
    if missing:
        raise ValueRefused(shown(value), f"lacks {listed(missing)}: all members of a key must be given")

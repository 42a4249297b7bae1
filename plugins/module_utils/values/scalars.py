# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a codec is, and those of types without members: numbers, texts, and what cannot be given."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import math
import struct
import typing as t

from .addresses import ADDRESSES, address_of
from .columns import PackMany, check_texts, each_once, integers
from .numbers import Number, integer
from .refused import refuse

_LETTERS = {1: "b", 2: "h", 4: "i", 8: "q"}  # of the struct module
_MARKS = {"little": "<", "big": ">"}

Encode = t.Callable[[t.Any], bytes]
Decode = t.Callable[[bytes], t.Any]


class Codec(t.NamedTuple):
    """Between a value as YAML has it and its bytes. All raise ValueRefused.

    `part` gives the bytes, and a mask with ones for the bits that the value names. `canonical`: two keys are the same
    to the kernel if these bytes of them are equal. `letter` of the struct module, if that alone encodes and decodes it.
    `parted`: whether a value may name a part only. `pack_many` does what encode() does, several times faster, but
    only for what is plain, and where all values name the same. For the rest it raises one of NOT_PLAIN of columns.py.
    """

    size: int
    encode: Encode
    part: t.Callable[[t.Any], t.Tuple[bytes, bytes]]
    decode: Decode
    canonical: t.Callable[[bytes], bytes] = bytes
    letter: str = ""
    parted: bool = True
    pack_many: t.Optional[PackMany] = None


def packing(order: str, letters: str) -> struct.Struct:
    return struct.Struct(_MARKS[order] + letters)


def leaf(size: int, encode: Encode, decode: Decode, letter: str = "") -> Codec:
    """What is always given as a whole."""
    ones = b"\xff" * size
    many = each_once(encode)
    return Codec(size, encode, lambda value: (encode(value), ones), decode, letter=letter, parted=False, pack_many=many)


def plain_integer(size: int, signed: bool, order: str, host_order: str) -> Codec:
    number = integer(8 * size, signed)

    def encode_other(value: t.Any) -> bytes:
        address = address_of(value, size) if isinstance(value, str) else None
        return address or number.to_bits(value).to_bytes(size, order)  # type: ignore[arg-type] # order: a literal, in newer stubs

    letter = _LETTERS.get(size, "")
    if not letter:
        return leaf(size, encode_other, lambda data: number.of_bits(int.from_bytes(data, order)))  # type: ignore[arg-type]
    letter = letter if signed else letter.upper()
    packed = packing(order, letter)

    def encode(value: t.Any, pack: t.Callable[[t.Any], bytes] = packed.pack) -> bytes:
        if isinstance(value, str):
            return encode_other(value)
        try:
            return pack(value)
        except struct.error:
            return encode_other(value)

    def decode(data: bytes, unpack: t.Callable[[bytes], t.Tuple[t.Any, ...]] = packed.unpack) -> t.Any:
        return unpack(data)[0]

    def packed_all(numbers: t.Sequence[t.Any]) -> bytes:
        return packing(order, f"{len(numbers)}{letter}").pack(*numbers)

    plain = leaf(size, encode, decode, letter if order == host_order else "")
    return plain._replace(pack_many=integers(packed_all, ADDRESSES.get(size)))


def whole_number(number: Number, size: int, order: str) -> Codec:
    """A boolean or an enum."""
    return leaf(
        size,
        lambda value: number.to_bits(value).to_bytes(size, order),  # type: ignore[arg-type]
        lambda data: number.of_bits(int.from_bytes(data, order)),  # type: ignore[arg-type]
    )


def floating(size: int, order: str) -> Codec:
    packed = packing(order, {4: "f", 8: "d"}[size])

    def encode(value: t.Any) -> bytes:
        try:
            if isinstance(value, (int, float, str)) and not isinstance(value, bool):
                return packed.pack(float(value))
        except (ValueError, OverflowError):
            pass
        raise refuse(value, f"is not a number that {size} B can hold")

    def decode(data: bytes) -> t.Any:
        (value,) = packed.unpack(data)
        return value if math.isfinite(value) else str(value)  # JSON has no word for them

    return leaf(size, encode, decode)


def opaque(size: int, reason: str) -> Codec:
    """Read as hexadecimal digits, and given only in this form, as what was read is; else refused for this reason."""

    def encode(value: t.Any) -> bytes:
        raw = of_hex(value, size) if isinstance(value, str) else None
        if raw is None:
            raise refuse(value, reason)
        return raw

    return leaf(size, encode, in_hex)


def text(base: Codec) -> Codec:
    """char[n]. `base`: as an array of numbers, which may be given instead."""
    size = base.size

    def encode(value: t.Any) -> bytes:
        raw = of_hex(value, size)
        if raw is None:
            try:
                raw = value.encode()
            except UnicodeEncodeError:
                raise refuse(value, "is not a text in UTF-8") from None
            if b"\0" in raw:
                raise refuse(value, "contains a NUL, which ends a text in C")
            if len(raw) >= size:
                raise refuse(value, f"has {len(raw)} B in UTF-8, and a char[{size}] takes {size - 1} and a NUL")
        return t.cast(bytes, raw.ljust(size, b"\0"))

    def decode(data: bytes) -> str:
        raw, nul, rest = data.partition(b"\0")
        try:
            found = raw.decode()
        except UnicodeDecodeError:
            return in_hex(data)
        return found if nul and not rest.strip(b"\0") and found.isprintable() else in_hex(data)

    return with_texts(base, encode, decode)


def hexadecimal(base: Codec) -> Codec:
    def encode(value: str) -> bytes:
        raw = of_hex(value, base.size)
        return base.encode(value) if raw is None else raw

    return with_texts(base, encode, in_hex)


def with_texts(
    base: Codec, encode_text: t.Callable[[str], bytes], decode: Decode, pack_texts: t.Optional[PackMany] = None
) -> Codec:
    """One that takes texts as well, and reads as a text. `pack_texts`: many of them, if there is a quicker way."""
    encode_other, part_other, ones = base.encode, base.part, b"\xff" * base.size
    pack = pack_texts or each_once(encode_text)

    def encode(value: t.Any) -> bytes:
        return encode_text(value) if isinstance(value, str) else encode_other(value)

    def part(value: t.Any) -> t.Tuple[bytes, bytes]:
        return (encode_text(value), ones) if isinstance(value, str) else part_other(value)

    def pack_many(given: t.Sequence[t.Any]) -> bytes:
        check_texts(given)
        return pack(given)

    return Codec(base.size, encode, part, decode, pack_many=pack_many)


def in_hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def of_hex(value: str, size: int) -> t.Optional[bytes]:
    """None if the text is not 0x and exactly so many bytes in hexadecimal."""
    if value[:2] in ("0x", "0X") and len(value) == 2 + 2 * size:
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    return None

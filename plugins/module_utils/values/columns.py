# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many values of a type at once, by columns: a list may have a million rows, and what is done for each takes the time.

All of it is only for what is plain. It raises one of NOT_PLAIN for anything else, which may be right or wrong: then
Codec.encode() takes the values one by one, and says what is wrong.
"""

from __future__ import annotations

import itertools
import struct
import typing as t

from .refused import ValueRefused

PORTION = 4096  # rows that are taken at once: so many are still in the cache of a CPU
LARGEST = 256  # bytes of a value: each of them is a column here
NOT_PLAIN = (struct.error, TypeError, ValueError, LookupError, AttributeError, OverflowError, OSError, ValueRefused)

PackMany = t.Callable[[t.Sequence[t.Any]], bytes]  # the values one after the other


class Columns(t.Sequence[t.Any]):
    """Mappings with the same members, as a column for each member. A mapping is only made when it is asked for."""

    def __init__(self, columns: t.Mapping[str, t.Sequence[t.Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, at: t.Any) -> t.Any:
        found = {name: column[at] for name, column in self.columns.items()}
        return Columns(found) if isinstance(at, slice) else found


class Numerals(t.Sequence[str]):
    """Texts that are decimal numbers. A text is only made when it is asked for."""

    def __init__(self, numbers: t.Sequence[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: t.Any) -> t.Any:
        return Numerals(self.numbers[at]) if isinstance(at, slice) else str(self.numbers[at])


def columns_of(given: t.Sequence[t.Any]) -> t.Mapping[str, t.Sequence[t.Any]]:
    """Of mappings that all have the same members."""
    if isinstance(given, Columns):
        return given.columns
    names = list(given[0])
    if set(map(type, given)) != {dict} or set(map(len, given)) != {len(names)}:
        raise ValueError
    return {name: [each[name] for each in given] for name in names}


def interleaved(size: int, count: int, columns: t.Iterable[t.Tuple[int, int, bytes]]) -> bytes:
    """Rows of `size` bytes. Of a column: where it begins in a row, its bytes in a row, and all of them."""
    made = bytearray(size * count)
    for begin, width, packed in columns:
        for at in range(width):
            made[begin + at :: size] = packed[at::width]
    return bytes(made)


def cut(packed: bytes, size: int, count: int) -> t.Tuple[bytes, ...]:
    return struct.unpack(f"{size}s" * count, packed)


def check_texts(given: t.Sequence[t.Any]) -> None:
    if set(map(type, given)) != {str}:
        raise TypeError


def each_once(encode: t.Callable[[t.Any], bytes]) -> PackMany:
    """Texts that are there many times, as names of an enum, are encoded once."""

    def pack_many(given: t.Sequence[t.Any]) -> bytes:
        if set(map(type, given)) != {str}:  # 0.0 and -0.0 are the same in a dict
            return b"".join(map(encode, given))
        known = {each: encode(each) for each in set(given)}
        return b"".join([known[each] for each in given])

    return pack_many


def integers(packed: t.Callable[..., bytes], addresses: t.Optional[PackMany]) -> PackMany:
    """`packed`: all of them, from numbers. `addresses`: from texts that are no numbers, if those may be given."""

    def pack_many(given: t.Sequence[t.Any]) -> bytes:
        if isinstance(given, Numerals):
            return packed(given.numbers)
        if not isinstance(given[0], str):
            return packed(given)
        try:
            return packed(list(map(int, given, itertools.repeat(0))))
        except ValueError:
            if not addresses:
                raise
            return addresses(given)

    return pack_many

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Integers, booleans and enums: between what YAML says and the bits of a member."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from .refused import listed, refuse

_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


class Number(t.NamedTuple):
    """`to_bits` gives the bits as a number that is not negative, and raises ValueRefused; `of_bits` is the way back."""

    to_bits: t.Callable[[t.Any], int]
    of_bits: t.Callable[[int], t.Any]


def integer(bits: int, signed: bool) -> Number:
    low, high = bounds(bits, signed)
    ones, sign = (1 << bits) - 1, 1 << bits - 1

    def to_bits(value: t.Any) -> int:
        number = whole(value, f"{low}..{high}")
        if not low <= number <= high:
            raise refuse(value, f"is not in {low}..{high}")
        return number & ones

    def of_bits(number: int) -> int:
        return number - (sign << 1) if signed and number & sign else number

    return Number(to_bits, of_bits)


def bounds(bits: int, signed: bool) -> t.Tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def whole(value: t.Any, wanted: str) -> int:
    """A whole number as YAML or Jinja writes it; 0x and 0b are understood, 010 is not."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            pass
    raise refuse(value, f"is not a whole number in {wanted}")


def boolean() -> Number:
    def to_bits(value: t.Any) -> int:
        text = str(value).lower() if isinstance(value, (str, int)) else ""
        if text in _TRUE or text == "1":
            return 1
        if text in _FALSE or text == "0":
            return 0
        raise refuse(value, "is neither true nor false")

    # C can read other numbers as neither true nor false: people see them as they are.
    return Number(to_bits, lambda number: bool(number) if number < 2 else number)


def enumeration(bits: int, signed: bool, names: t.Mapping[str, int]) -> Number:
    """`signed` as BTF has it. Clang 14 does not tell, and writes negative numbers all the same."""
    low, high = bounds(bits, signed)
    if not signed and any(number < 0 for number in names.values()):
        signed, low = True, -(1 << bits - 1)
    ones = (1 << bits) - 1
    plain = integer(bits, signed)
    to = {name: number & ones for name, number in names.items() if low <= number <= high}
    back: t.Dict[int, str] = {}
    for name, number in to.items():
        back.setdefault(number, name)

    def to_bits(value: t.Any) -> int:
        if isinstance(value, str) and value in to:
            return to[value]
        wanted = f"{low}..{high}" + (f", nor one of {listed(to)}" if to else "")
        number = whole(value, wanted)
        if not low <= number <= high:
            raise refuse(value, f"is not in {wanted}")
        return number & ones

    return Number(to_bits, lambda number: back.get(number, plain.of_bits(number)))

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value of a host may be. Each check returns the value that is used from here on, or raises Unacceptable."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..errors import FleetError
from .text import message, one_line, printable

Check = t.Callable[[t.Any, str], t.Any]  # of a value, and where it is: "interfaces.eth0.packets"

MOST_ITEMS = 1 << 20
MOST_LEVELS = 32
IFNAMSIZ = 16  # with the NUL at the end; linux/if.h


class Unacceptable(FleetError):
    """Where in an answer what is wrong, in words."""

    def __init__(self, where: str, value: t.Any, wanted: str) -> None:
        super().__init__(f"{one_line(where[:200])} is {shown(value)}, not {wanted}")


def shown(value: t.Any) -> str:
    """A value of any size, for a message."""
    if isinstance(value, (dict, list, tuple)):
        return f"a {'dictionary' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = printable(repr(str(value)[:60]) if isinstance(value, str) else str(value)[:60])
    return text if len(text) <= 60 else f"{text[:60]}…"


def number(value: t.Any, where: str) -> int:
    """A sum of counters of 64 bits may be larger than they are."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 80:
        raise Unacceptable(where, value, "a whole number from 0 on")
    return value


def identifier(value: t.Any, where: str) -> int:
    """An index or an id of the kernel."""
    if number(value, where) >= 1 << 32:
        raise Unacceptable(where, value, "a number of 32 bits")
    return t.cast(int, value)


def integer(value: t.Any, where: str) -> int:
    """A setting of the kernel, which may be negative."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        raise Unacceptable(where, value, "a whole number")
    return value


def real(value: t.Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 80:
        raise Unacceptable(where, value, "a number from 0 on")
    return value


def boolean(value: t.Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Unacceptable(where, value, "true or false")
    return value


def line(value: t.Any, where: str) -> str:
    """Free text, which is made one line of."""
    return printable(_string(value, where), keep="\t")


def text(value: t.Any, where: str) -> str:
    """Free text of several lines."""
    return printable(_string(value, where), keep="\n\t")


def word(value: t.Any, where: str) -> str:
    """No white space, so that in a table or a sentence it is only what it says."""
    if not 0 < len(_string(value, where)) <= 255 or re.search(r"\s", value):
        raise Unacceptable(where, value, "one word")
    return printable(value)


def choice(*words: str) -> Check:
    """One of these words."""

    def checked(value: t.Any, where: str) -> str:
        if value not in words:
            raise Unacceptable(where, value, " or ".join(words))
        return str(value)

    return checked


def name(value: t.Any, where: str) -> str:
    """Of a program or a map, which need not have one."""
    return "" if value == "" else word(value, where)


def hexadecimal(value: t.Any, where: str) -> str:
    if not re.fullmatch(r"[0-9a-f]*", _string(value, where)):
        raise Unacceptable(where, value, "a hexadecimal number")
    return str(value)


def interface(value: t.Any, where: str) -> str:
    """The kernel's own rule, dev_valid_name() in net/core/dev.c. A module writes a byte that is not UTF-8 as \\xff."""
    found = _string(value, where)
    size = len(re.sub(r"\\x[0-9a-f]{2}", "?", found).encode(errors="replace"))
    if not 0 < size < IFNAMSIZ or found in (".", "..") or re.search(r"[/:\s\0]", found):
        raise Unacceptable(where, value, "a name that Linux allows for an interface")
    return printable(found)


def _string(value: t.Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > MOST_ITEMS:
        raise Unacceptable(where, value, "text" if not isinstance(value, str) else "text of this size")
    return value


def optional(check: Check) -> Check:
    """Or null."""
    return lambda value, where: None if value is None else check(value, where)


def items(check: Check) -> Check:
    def checked(value: t.Any, where: str) -> t.List[t.Any]:
        if not isinstance(value, (list, tuple)) or len(value) > MOST_ITEMS:
            raise Unacceptable(where, value, "a list")
        where += "[]"
        return [check(each, where) for each in value]

    return checked


def by(key: Check, check: Check) -> Check:
    """A dictionary of as many keys as there are."""

    def checked(value: t.Any, where: str) -> t.Dict[str, t.Any]:
        if not isinstance(value, dict) or len(value) > MOST_ITEMS:
            raise Unacceptable(where, value, "a dictionary")
        return {key(each, f"a key of {where}"): check(found, f"{where}.{each}") for each, found in value.items()}

    return checked


def record(known: t.Mapping[str, Check], perhaps: t.Optional[t.Mapping[str, Check]] = None) -> Check:
    """A dictionary that has what is `known`, and perhaps more. Whatever else is in it is left out."""

    def checked(value: t.Any, where: str) -> t.Dict[str, t.Any]:
        if not isinstance(value, dict):
            raise Unacceptable(where, value, "a dictionary")
        missing = [key for key in known if key not in value]
        if missing:
            raise Unacceptable(where, value, f"one that has {missing[0]}")
        every = {**known, **(perhaps or {})}
        return {key: check(value[key], f"{where}.{key}") for key, check in every.items() if key in value}

    return checked


def anything(value: t.Any, where: str, level: int = 0) -> t.Any:
    """What only is shown. Ansible's own errors and warnings are dataclasses, with messages in them."""
    if level > MOST_LEVELS:
        raise Unacceptable(where, value, f"of at most {MOST_LEVELS} levels")
    if isinstance(value, str):
        cleaned = text(value, where)
        return value if cleaned == value else cleaned  # Ansible marks some of its own
    if isinstance(value, dict):
        return {anything(key, where, level + 1): anything(each, where, level + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [anything(each, where, level + 1) for each in value]
    return value


def messages(value: t.Any, where: str, level: int = 0) -> t.Any:
    """The same for what Ansible prints as it is: messages, warnings, errors."""
    if level > MOST_LEVELS:
        raise Unacceptable(where, value, f"of at most {MOST_LEVELS} levels")
    if isinstance(value, str):
        cleaned = message(_string(value, where))
        return value if cleaned == value else cleaned
    if isinstance(value, dict):
        return {anything(key, where): messages(each, where, level + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(messages(each, where, level + 1) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return dataclasses.replace(
            value, **{field: messages(each, where, level + 1) for field, each in fields.items() if each}
        )
    return value

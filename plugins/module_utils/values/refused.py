# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a value that a type cannot have."""

from __future__ import annotations

import typing as t

from ..errors import FleetError

_NAMES = 40  # that are listed
_LETTERS = 80


class ValueRefused(FleetError):
    """`path` of the member, `given` as the user wrote it, and `reason`: the rest of the sentence, with the bounds or
    the names that there are.
    """

    def __init__(self, given: str, reason: str) -> None:
        super().__init__(given, reason)
        self.path = ""
        self.given = given
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.given} {self.reason}" if self.path else f"{self.given} {self.reason}"

    def within(self, place: str) -> ValueRefused:
        """The same, seen from what contains the value: `place` is a name, or [index]."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{place}{dot}{self.path}"
        return self


def refuse(given: t.Any, reason: str) -> ValueRefused:
    return ValueRefused(shown(given), reason)


def shown(given: t.Any) -> str:
    try:
        text = repr(given)
    except ValueError:  # Python 3.11 and later do not write numbers of more than 4300 digits
        return "a number of more than 4300 digits"
    except RecursionError:
        return "what is given"
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"


def listed(names: t.Iterable[t.Any]) -> str:
    every = [str(each) for each in names]
    more = [f"… ({len(every)} in all)"] if len(every) > _NAMES else []
    return ", ".join(every[:_NAMES] + more) or "none"

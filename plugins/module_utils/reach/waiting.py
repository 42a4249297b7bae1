# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until a host reaches all that it must reach, within the time that a provisional change has."""

from __future__ import annotations

import time
import typing as t

from ..errors import FleetError
from .targets import Target, Unanswered

_ATTEMPT = 3.0  # seconds for a connection
_PAUSE = 0.5
_RESERVE = 2.0  # seconds that the change goes on for, in which it is confirmed

Fact = t.Dict[str, t.Any]


class Unreached(FleetError):
    """`facts`: as await_answers() returns them, of those that did answer before."""

    def __init__(self, words: str, facts: t.List[Fact]) -> None:
        super().__init__(words)
        self.facts = facts


def patience(seconds: float) -> float:
    """How long to ask, of the seconds after which a change is rolled back."""
    return max(seconds - _RESERVE, seconds / 2)


def await_answers(targets: t.Sequence[Target], seconds: float) -> t.List[Fact]:
    """Ask all, one after the other, each until it answers. Raises Unreached when `seconds` are over."""
    began = time.monotonic()
    found: t.List[Fact] = []
    for each in targets:
        answer = _await(each, began + seconds, seconds, found)
        found.append({"asked": str(each), "answer": answer, "seconds": round(time.monotonic() - began, 3)})
    return found


def _await(target: Target, deadline: float, seconds: float, found: t.List[Fact]) -> str:
    while True:
        try:
            return target.ask(max(0.1, min(_ATTEMPT, deadline - time.monotonic())))
        except Unanswered as error:
            if time.monotonic() + _PAUSE > deadline:
                raise Unreached(
                    f"{target} (reachable) did not answer within {seconds:g} s after the change: {error}", found
                ) from error
        time.sleep(_PAUSE)

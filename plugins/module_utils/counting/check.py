# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Are packets counted, and do they still arrive? Compares the counter with what reaches the network stack."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ..attach.asked import places_asked
from ..deploy.observe import Seen, observe_settled
from ..errors import FleetError
from . import counters
from .arrivals import Arrivals

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf

SETTLE_SECONDS = 0.05  # there is a queue between counter and stack


def check(lib: Libbpf, options: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """The result of xdp_counter_check, and the problems as `wrong`. Raises FleetError."""
    if not 0 <= options["seconds"] < 2**31:
        raise FleetError(f"seconds is {options['seconds']}; give 0 or more")
    name = options["name"]
    seen = observe_settled(lib, places_asked(lib, options, "to read"))
    with contextlib.ExitStack() as held:
        outer = [readings(lib, seen)]
        time.sleep(SETTLE_SECONDS)
        stacks = {each.interface: held.enter_context(Arrivals(each.interface)) for each in seen if each.ifindex}
        inner = [readings(lib, seen)]
        time.sleep(options["seconds"])
        inner.append(readings(lib, seen))
        time.sleep(SETTLE_SECONDS)
        arrived = {interface: stack.packets() for interface, stack in stacks.items()}
        outer.append(readings(lib, seen))
    found: t.Dict[str, t.Dict[str, t.Optional[int]]] = {}
    wrong = [] if seen else [f"{name} is not on any interface of this host: deploy it with ebpf.fleet.xdp_program"]
    for each in seen:
        counted = growth(*(reading[each.interface] for reading in inner))
        around = growth(*(reading[each.interface] for reading in outer))
        found[each.interface] = {"counted": counted, "arrived": arrived.get(each.interface)}
        wrong += verdict(name, each, counted, around, arrived.get(each.interface))
    idle = [interface for interface, both in found.items() if not any(both.values())]
    return {"changed": False, "interfaces": found, "idle": idle, "wrong": wrong}


def readings(lib: Libbpf, seen: t.Iterable[Seen]) -> t.Dict[str, t.Optional[counters.Reading]]:
    return {each.interface: counters.read(lib, each) for each in seen}


def growth(before: t.Optional[counters.Reading], after: t.Optional[counters.Reading]) -> t.Optional[int]:
    return after.packets - before.packets if before and after else None


def verdict(
    name: str, seen: Seen, counted: t.Optional[int], around: t.Optional[int], arrived: t.Optional[int]
) -> t.Iterator[str]:
    """What is wrong on an interface, one sentence for each problem. Pure.

    The windows nest (`counted` inside `arrived` inside `around`), so a packet at an edge cannot raise a false alarm.
    """
    if seen.ours and seen.ours.elsewhere:
        yield f"{name} of {seen.interface} is attached to {seen.ours.where}"
    elif arrived is None:
        yield f"there is no interface {seen.interface} on this host"
    elif not seen.attached:
        yield f"{name} is not attached to {seen.interface}"
    elif counted is None:
        yield f"{name} has no counters on {seen.interface}"
    elif arrived and not around:
        yield f"{arrived} packets arrived on {seen.interface}, but {name} counted none"
    elif counted and not arrived:
        yield f"{name} counted {counted} packets on {seen.interface}, but none of them reached the network stack"

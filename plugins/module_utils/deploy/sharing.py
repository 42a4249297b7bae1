# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a program shares its interface with others, and where it stands among them. Pure."""

from __future__ import annotations

import typing as t

from ..errors import FleetError
from ..sharing.config import DEFAULT_ACTIONS, DEFAULT_PRIORITY, SLOTS, Slot
from ..sharing.dispatcher import Component, Dispatcher
from .observe import PLAIN_MTU, Seen
from .request import Wanted

if t.TYPE_CHECKING:
    from ..attach.hooks import Hook
    from ..objects.image import Image


def with_run_config(wanted: Wanted, image: Image) -> Wanted:
    """With priority and actions as the object has them, where the task does not say. Raises FleetError."""
    if not image.content:
        return wanted
    from ..objects.run_config import has_btf, run_config

    if not has_btf(image):
        raise FleetError(
            f"{image.facts.path} has no type information (BTF), without which the kernel puts no program into a"
            f" dispatcher: compile it with clang -g"
        )
    found = run_config(image, image.facts.xdp_program(wanted.program))
    return wanted._replace(
        priority=found.priority if wanted.priority is None else wanted.priority,
        actions=found.actions if wanted.actions is None else wanted.actions,
    )


def slot_for(wanted: Wanted, seen: Seen, program: str) -> t.Optional[Slot]:
    """Where the program stands in a dispatcher; None if it is to have the interface alone. Raises FleetError."""
    if not shares(wanted, seen):
        if seen.ours and seen.ours.dispatcher and seen.attached:
            _check_alone(wanted, seen, seen.ours.dispatcher)
        return None
    _check_object(wanted)
    before = _before(seen)
    slot = Slot(
        _first(wanted.priority, before.priority if before else None, DEFAULT_PRIORITY),
        _first(wanted.actions, before.actions if before else None, DEFAULT_ACTIONS),
        wanted.object.takes_frags(program),
    )
    if wanted.state == "attached":
        _check_interface(wanted, seen, slot)
    return slot


def shares(wanted: Wanted, seen: Seen) -> bool:
    if wanted.dispatcher != "auto":
        return wanted.dispatcher == "always"
    if seen.ours and seen.ours.mode:
        return seen.ours.dispatcher is not None
    if wanted.state == "attached" and joined(seen):
        return True
    return bool(seen.known and seen.known.deployed.sharing)  # it is detached, and was loaded for a dispatcher


def shared_anywhere(wanted: Wanted, seen: t.Iterable[Seen]) -> bool:
    return any(shares(wanted, each) for each in seen)


def joined(seen: Seen) -> t.Optional[Hook]:
    """The dispatcher on the interface that ours is not in yet, if that is all that is there and it can be joined."""
    found = [hook for hook in seen.others if hook.dispatcher and not hook.dispatcher.trouble and not hook.pinned_as]
    return found[0] if len(seen.others) == 1 and found else None


def _before(seen: Seen) -> t.Optional[Slot]:
    """Where it stands, or stood."""
    if seen.ours and seen.ours.component:
        return seen.ours.component.slot
    sharing = seen.known.deployed.sharing if seen.known else {}
    if not sharing:
        return None
    return Slot(sharing["priority"], tuple(sharing["chain_call_actions"]))


def _first(*values: t.Any) -> t.Any:
    return next(each for each in values if each is not None)


def data(slot: t.Optional[Slot]) -> t.Dict[str, t.Any]:
    """As in state/deployed.py."""
    return {"priority": slot.priority, "chain_call_actions": list(slot.actions)} if slot else {}


def moves(seen: Seen, slot: t.Optional[Slot]) -> bool:
    """Whether it is in a dispatcher, and is to stand somewhere else in it."""
    there = seen.ours.component if seen.ours else None
    return bool(slot and there and (there.slot.priority, there.slot.actions) != (slot.priority, slot.actions))


def beside(seen: Seen) -> t.List[Component]:
    """The other programs in the dispatcher that is there."""
    there = seen.ours.dispatcher if seen.ours and seen.attached else None
    if there:
        return [each for number, each in enumerate(there.components) if seen.ours and number != seen.ours.slot]
    hook = joined(seen)
    return list(hook.components) if hook else []


def _check_alone(wanted: Wanted, seen: Seen, there: Dispatcher) -> None:
    others = beside(seen)
    if others and wanted.state == "attached":
        raise FleetError(
            f"{wanted.name} on {seen.interface} is in a dispatcher with {' and '.join(map(str, others))}, so it cannot"
            f" have the interface alone (dispatcher: never): take these off first, or leave dispatcher: auto"
        )


def _check_object(wanted: Wanted) -> None:
    """Raises FleetError if the kernel would not put its program into a dispatcher."""
    arrays = [each.name for each in wanted.object.maps if each.shape.type == "prog_array"]
    if arrays:
        raise FleetError(
            f"{wanted.object.path} has a map of programs for tail calls, {arrays[0]}, and the kernel puts no such"
            f" program into a dispatcher; it needs an interface of its own: set dispatcher: never"
        )
    if wanted.mode == "offload":
        raise FleetError("mode: offload has the network card run a single program: set dispatcher: never")


def _check_interface(wanted: Wanted, seen: Seen, slot: Slot) -> None:
    """Raises FleetError if the dispatcher that is there, or would be there, does not take it."""
    hook = joined(seen)
    mine = seen.ours.dispatcher if seen.ours and seen.attached else None
    there = mine or (hook.dispatcher if hook else None)
    mode = seen.mode or (hook.mode if hook else None)
    others = beside(seen)
    if len(others) >= SLOTS:
        raise FleetError(
            f"cannot attach {wanted.name} to {seen.interface}: its dispatcher has {len(others)} programs, and {SLOTS}"
            f" is the most; `xdp-loader status {seen.interface}` lists them"
        )
    if there and others and mode and wanted.mode not in ("auto", mode):
        raise FleetError(
            f"cannot attach {wanted.name} to {seen.interface} in {wanted.mode} mode: the dispatcher there runs in"
            f" {mode} mode, with {' and '.join(map(str, others))}; set mode: {mode} or mode: auto"
        )
    if there and there.frags and not slot.frags and seen.mtu > PLAIN_MTU and mode == "native":
        raise FleetError(
            f"cannot attach {wanted.name} to {seen.interface}: its MTU is {seen.mtu}, so all programs of its dispatcher"
            f' must take packets of several buffers, as those that are there do: put it into section "xdp.frags", or'
            f" lower the MTU (`ip link set dev {seen.interface} mtu {PLAIN_MTU}`)"
        )


def converting(wanted: Wanted, seen: Seen, slot: t.Optional[Slot]) -> t.Optional[str]:
    """What the user has to know where a program changes between alone and shared: it cannot be done in one step."""
    if not (seen.ours and seen.attached) or bool(slot) == bool(seen.ours.dispatcher):
        return None
    return (
        f"{wanted.name} on {seen.interface} changes from"
        f" {'a link to a dispatcher' if slot else 'a dispatcher to a link'}: the kernel does that in no single step, so"
        f" packets pass without it in between, usually for less than 0.1 s"
    )

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan for one interface as a value, and the state of an interface as a diff shows it. Pure."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach.hooks import Hook
from ..state.places import unescape
from .observe import Seen

if t.TYPE_CHECKING:
    from ..sharing.config import Slot
    from ..sharing.dispatcher import Component
    from .steps import Step


class Plan(t.NamedTuple):
    """The steps for one interface, and a description of the state before and after them.

    `warnings` are for the user, also in check mode.
    """

    seen: Seen
    steps: "t.Tuple[Step, ...]"
    before: t.Dict[str, t.Any]
    after: t.Dict[str, t.Any]
    warnings: t.Tuple[str, ...] = ()


class Order(t.NamedTuple):
    """`plans` are whole, the requested ones first; `groups` their parts in the order in which they are done."""

    plans: t.Tuple[Plan, ...]
    groups: t.Tuple[t.Tuple[Plan, ...], ...]


def describe(seen: Seen) -> t.Dict[str, t.Any]:
    """The state of one interface for a diff: only what check mode can predict."""
    words: t.Dict[str, t.Any] = {"state": "absent"}
    if seen.exists:
        record = seen.known.deployed if seen.known else None
        words = {
            "state": "attached" if seen.attached else "detached",
            "mode": record.mode if record else seen.mode or "unknown",
            "program": record.program if record else seen.running and seen.running.name,
            "checksum": record.checksum if record else "unknown",
            "maps": {unescape(pin): str(info.shape) for pin, info in sorted(seen.maps.items())},
            "pins": _pins(seen),
        }
        if seen.attached:
            words["ifindex"] = seen.ifindex
        if seen.ours and seen.ours.dispatcher and seen.ours.component:
            beside = [each for each in seen.ours.dispatcher.components if each != seen.ours.component]
            words["dispatcher"] = shared_words(seen.ours.component.slot, beside)
        if record and record.variables:
            words["variables"] = dict(record.variables)
    if seen.persistent:
        words["persistent"] = True
    if seen.others:
        words["others"] = [str(hook) for hook in seen.others]
    return words


def shared_words(slot: "Slot", beside: "t.Iterable[Component]") -> t.Dict[str, t.Any]:
    return {
        "priority": slot.priority,
        "chain_call_actions": list(slot.actions),
        "beside": [str(each) for each in beside],
    }


def _pins(seen: Seen) -> t.List[str]:
    there = {
        "link": seen.ours and seen.ours.link_id is not None,
        "program": seen.pinned,
        **{f"maps/{unescape(pin)}": info for pin, info in seen.maps.items()},
        **{unescape(path[len(seen.place.folder) + 1 :]): path for path in seen.leftovers},
    }
    if seen.running and seen.pinned and seen.pinned.id != seen.running.id:
        there["program (not the one that runs)"] = there.pop("program")
    return sorted(pin for pin, found in there.items() if found)


def with_others(
    after: t.Dict[str, t.Any], seen: Seen, others: t.Optional[t.Sequence[Hook]] = None
) -> t.Dict[str, t.Any]:
    others = seen.others if others is None else others
    return {**after, "others": [str(hook) for hook in others]} if others else after


def forget(seen: Seen) -> "t.List[Step]":
    """Not to be restored after a reboot; no step where nothing is."""
    if not seen.persistence or not seen.persistence.traces:
        return []
    from .steps import Forget  # imported here, because a target compiles what it imports

    return [Forget()]

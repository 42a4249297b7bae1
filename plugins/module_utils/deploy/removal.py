# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans to detach a program, or to leave nothing of it. Pure."""

from __future__ import annotations

import typing as t

from ..state.places import NEW
from .observe import Seen
from .planned import Plan, describe, forget, with_others
from .steps import Detach, Note, Unpin


def plan_absent(seen: Seen) -> Plan:
    before = describe(seen)
    steps = forget(seen)  # first: a half-removed program must not be restored
    if seen.exists:
        if seen.ours:
            steps.append(Detach(seen.ours))
        steps += [Unpin(path) for path in _paths(seen) if path != seen.place.link]
        steps.append(Note(None))
    if not steps:
        return Plan(seen, (), before, before)
    return Plan(seen, tuple(steps), before, with_others({"state": "absent"}, seen))


def _paths(seen: Seen) -> t.List[str]:
    place = seen.place
    paths = list(seen.leftovers) + [place.map(pin) for pin in sorted(seen.maps)]
    if seen.pinned:
        paths.append(place.program)
    if seen.ours:
        paths.append(place.link)
    return paths


def plan_detached(seen: Seen) -> Plan:
    before = describe(seen)
    steps = forget(seen)
    steps += [Unpin(path) for path in seen.leftovers]
    if seen.ours:
        steps.append(Detach(seen.ours))
    if not steps:
        return Plan(seen, (), before, before)
    after = {key: value for key, value in before.items() if key not in ("ifindex", "persistent")}
    if seen.exists:  # else only what is restored after a reboot is left
        after.update(state="detached", pins=[pin for pin in before["pins"] if pin != "link" and not pin.endswith(NEW)])
    return Plan(seen, tuple(steps), before, after)


def plan_forget(seen: Seen) -> t.List[Plan]:
    """What is attached in a different network namespace is left there, but after a reboot it would be back here."""
    before, steps = describe(seen), forget(seen)
    after = {key: value for key, value in before.items() if key != "persistent"}
    return [Plan(seen, tuple(steps), before, after)] if steps else []

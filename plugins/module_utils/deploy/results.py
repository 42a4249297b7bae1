# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcome of a change, and the results that xdp_program returns for it."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import typing as t

from .observe import Seen, observe
from .planned import Plan, describe
from .request import Wanted

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..state.places import Place
    from ..state.replacing import ReplacedFile

Facts = t.Dict[str, t.Any]


class Provisional(t.NamedTuple):
    """A change that is not confirmed yet: its token, and what ran on each interface before it and runs after it.

    before and after contain Hook.data() of each program, by interface. reached: what has answered since, if asked.
    """

    token: str
    before: t.Dict[str, t.List[Facts]]
    after: t.Dict[str, t.List[Facts]]
    reached: t.List[Facts]


class Outcome(t.NamedTuple):
    """What was done, or in check mode would be done. `errors` by interface, if the others were done nevertheless.

    `parts` are the plans in the order of their steps: one that is interrupted for others has two.
    `files` were written; `mounts`: bpffs was mounted.
    """

    plans: t.Tuple[Plan, ...]
    parts: t.Tuple[Plan, ...]
    attachments: t.List[Facts]
    errors: t.Dict[str, str]
    mounts: bool
    files: t.Tuple["ReplacedFile", ...] = ()
    provisional: t.Optional[Provisional] = None


def look(lib: "Libbpf", plans: t.Iterable[Plan]) -> t.Dict[str, Seen]:
    """The state after the plans were applied, by interface."""
    every = [plan.seen for plan in plans]
    # A failed one was moved back.
    former = {each.place: each.former for each in every if each.former and os.path.isdir(each.former.folder)}
    return {seen.interface: seen for seen in observe(lib, [each.place for each in every], former)}


def without_errors(plans: t.Iterable[Plan], errors: t.Container[str]) -> t.Tuple[Plan, ...]:
    """The plans of interfaces that did not fail."""
    return tuple(plan for plan in plans if plan.seen.interface not in errors)


def of_request(plans: t.Iterable[Plan], requested: t.Container["Place"]) -> t.List[Plan]:
    """Without the plans for programs that the request did not name; see order.py."""
    return [plan for plan in plans if plan.seen.place in requested]


def still_detached(error: str) -> str:
    """The warning for what a killed run left detached. Its mark stays, so that each run tries again."""
    return (
        f"a killed run left a program detached, and it cannot be attached again now: {error}. When that is solved, run"
        f" any task again"
    )


def errors_of_request(errors: t.Mapping[str, str], requested: t.Iterable["Place"]) -> t.Dict[str, str]:
    """Those of interfaces that the request named."""
    named = {place.interface for place in requested}
    return {name: error for name, error in errors.items() if name in named}


def attachments(
    wanted: Wanted, plans: t.Sequence[Plan], after: t.Mapping[str, Seen], errors: t.Mapping[str, str]
) -> t.List[Facts]:
    """One for each interface; `after` contains those that were read again, in check mode none."""
    found = [_attachment(wanted, plan, after.get(plan.seen.interface)) for plan in plans]
    planned = {plan.seen.interface for plan in plans}
    found += [
        {"interface": name, "state": "failed", "error": error} for name, error in errors.items() if name not in planned
    ]
    for attachment in found:
        if attachment["interface"] in errors:
            attachment["error"] = errors[attachment["interface"]]
    return found


def _attachment(wanted: Wanted, planned: Plan, after: t.Optional[Seen]) -> Facts:
    """In check mode (after is None), what only a real run can know is null."""
    seen = after or planned.seen
    state = (describe(after) if after else planned.after)["state"]
    same = bool(after) or not planned.steps
    program = seen.running if same else None
    place = after.former if after and after.former else seen.place
    return {
        "interface": seen.interface,
        "ifindex": seen.ifindex,
        "mode": seen.mode if same else None,
        "program_id": program.id if program else None,
        "tag": program.tag if program else None,
        "variables_digest": seen.variables_digest if program else None,
        "link_id": seen.ours.link_id if same and seen.ours else None,
        "dispatcher": seen.dispatcher_facts if same else None,
        "map_ids": list(program.map_ids) if program else [],
        "pin_path": place.folder if state != "absent" else None,
        "state": "loaded" if state == "detached" and wanted.state == "loaded" else state,
        "persistent": bool(planned.after.get("persistent")),
    }


def result_of(outcome: Outcome, first: t.Sequence[str] = ()) -> Facts:
    """The result of xdp_program. `first`: what was done before the plans."""
    steps = [*first, *(["mount bpffs on /sys/fs/bpf"] if outcome.mounts else [])]
    steps += [f"{part.seen.interface}: {step}" for part in outcome.parts for step in part.steps]
    changed = [plan for plan in outcome.plans if plan.steps]
    result: Facts = {
        "changed": bool(steps),
        "attachments": outcome.attachments,
        "steps": steps,
        "diff": {
            "before": {plan.seen.interface: plan.before for plan in changed},
            "after": {
                plan.seen.interface: {**plan.after, "steps": [str(step) for step in plan.steps]} for plan in changed
            },
        },
    }
    if outcome.provisional:
        result["provisional"] = outcome.provisional._asdict()
        reached = result["provisional"].pop("reached")
        if reached:
            result["reached"] = reached
    return result

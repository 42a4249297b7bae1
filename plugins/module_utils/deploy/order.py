# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the plans: the kernel attaches to an interface only while none directly above it has a program.

So lower interfaces come first. Where one above already has a program of ours, that one is detached before and attached
again after. Such plans depend on each other: they form a group, and are done together or not at all.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach import stacked
from ..attach.hooks import Attachment, Links
from ..attach.stacked import Stack, Upper
from ..errors import FleetError
from ..libbpf.library import Libbpf
from ..state.places import NEW, Place
from .observe import Seen, observe
from .planned import Order, Plan, describe
from .request import Request
from .results import still_detached
from .steps import Adopt, Attach, Lift, Move, PutBack, Step, Unpin

Group = t.Tuple[Plan, ...]
Errors = t.Mapping[str, str]
Warn = t.Callable[[str], None]


class Around(t.NamedTuple):
    """What is above the interfaces of a request: the stack, the programs that cover them, and those that are ours."""

    stack: Stack
    uppers: t.Mapping[int, Upper]
    seen: t.Mapping[int, Seen]


def attaches(plan: Plan) -> bool:
    return any(isinstance(step, (Attach, PutBack)) for step in plan.steps)


def ordered(lib: Libbpf, request: Request, plans: t.Sequence[Plan], errors: t.Dict[str, str], warn: Warn) -> Order:
    """The plans in an order that the kernel allows. Adds to `errors`, by interface, where there is none."""
    left = list(_left_over(lib, request.root, plans, warn))
    around = _observe(lib, request, (*plans, *left))
    plans = allowed(plans, around, errors, left)
    refused: t.Dict[str, str] = {}
    left = allowed(left, around, refused, plans)
    for error in refused.values():
        warn(still_detached(error))
    return arrange((*plans, *left), around)


def _left_over(lib: Libbpf, root: str, plans: t.Sequence[Plan], warn: Warn) -> t.Iterator[Plan]:
    """Plans for what a killed run has detached, except where the request decides what runs."""
    requested = {plan.seen.place for plan in plans}
    taken = {plan.seen.interface: plan.seen.place.name for plan in plans if attaches(plan)}
    modes = {place: mode for place, mode in stacked.marks(root) if mode and place not in requested}
    for seen in observe(lib, modes):
        if seen.interface in taken:
            if _is_left(seen):
                name, other = seen.place.name, taken[seen.interface]
                warn(f"{name}, which a killed run left detached from {seen.interface}, is replaced by {other}")
            continue
        steps = tuple(_completing(seen, modes[seen.place]))
        if steps:
            state = describe(seen)
            yield Plan(seen, steps, state, {**state, "state": "attached"})


def _completing(seen: Seen, mode: str) -> t.Iterator[Step]:
    """The rest of a PutBack that was killed, perhaps between pinning the new link and giving the pin its name."""
    if not seen.pinned or not seen.ifindex:
        return
    if not seen.hooks:
        yield PutBack(seen.place.name, Attachment("link", 0, seen.pinned.id, seen.ifindex, mode))
    elif not seen.ours and seen.hooks[0].link_id and seen.hooks[0].program.id == seen.pinned.id:
        yield Adopt("link", seen.hooks[0])
    else:
        return
    yield from (Unpin(path) for path in seen.leftovers if path.endswith(NEW))


def _is_left(seen: Seen) -> bool:
    """Whether a program that was detached for a moment can still be attached again."""
    return bool(seen.ifindex and seen.pinned and not seen.hooks)


def remove_marks(lib: Libbpf, root: str, requested: t.Container[Place]) -> None:
    """At the end of a run: the programs with a mark are attached again, or, as requested, not."""
    for place, _mode in stacked.marks(root):
        if place in requested or not _is_left(observe(lib, [place])[0]):
            stacked.remove_mark(place)
    stacked.remove_mark_folders(root)


def _observe(lib: Libbpf, request: Request, plans: t.Sequence[Plan]) -> Around:
    stack, links = stacked.read_stack(), Links(lib)
    covering = {up for plan in plans if attaches(plan) for up in stack.covering(plan.seen.ifindex)}
    requested = {plan.seen.place: plan.seen for plan in plans}
    uppers = {up: stacked.read_upper(lib, request.root, stack.devices[up], links, request.former) for up in covering}
    for seen in requested.values():  # also where its pins are still in a former root
        if seen.ifindex in covering and seen.ours and seen.ours.by == "link" and seen.attached and len(seen.hooks) == 1:
            uppers[seen.ifindex] = Upper(seen.ifindex, seen.interface, seen.hooks, seen.place, seen.ours)
    missing = [upper.place for upper in uppers.values() if upper.place and upper.place not in requested]
    found = {**requested, **{seen.place: seen for seen in observe(lib, missing)}}
    return Around(stack, uppers, {up: found[upper.place] for up, upper in uppers.items() if upper.place})


def allowed(
    plans: t.Sequence[Plan], around: Around, errors: t.Dict[str, str], beside: t.Sequence[Plan] = ()
) -> t.List[Plan]:
    """The plans that can be carried out, if those `beside` them are too. Pure, but adds to `errors`."""
    attaching = {plan.seen.ifindex for plan in (*plans, *beside) if attaches(plan)}
    adopting = {plan.seen.ifindex for plan in (*plans, *beside) if _adopted(plan)}
    for plan in sorted(filter(attaches, plans), key=lambda each: -around.stack.depth(each.seen.ifindex)):
        try:
            _check_above(plan, attaching, adopting, around, errors)
            _check_members(plan, attaching, around.stack)
        except FleetError as error:
            errors[plan.seen.interface] = str(error)
    return [plan for plan in plans if plan.seen.interface not in errors]


def _check_above(
    plan: Plan, attaching: t.Container[int], adopting: t.Container[int], around: Around, errors: Errors
) -> None:
    """Raises FleetError if a program above prevents this one, whatever the order."""
    name, interface = plan.seen.place.name, plan.seen.interface
    for index in around.stack.covering(plan.seen.ifindex):
        upper = around.uppers[index]
        if upper.name in errors:
            raise FleetError(f"cannot attach {name} to {interface}: {upper.name}, which is above it, failed")
        if index in attaching or index in adopting:
            continue  # its own plan detaches what is there, or finds that it is ours
        if not upper.place:
            raise FleetError(stacked.foreign_words(name, interface, upper))
        if around.stack.devices[index].kind == "bond" and upper.hooks[0].mode == "native":
            raise FleetError(
                f"cannot attach {name} to {interface}: it belongs to {upper.name}, on which {upper.place.name} runs in"
                f" native mode, and so on all its members; remove it there first (state: absent, interfaces:"
                f" [{upper.name}]), or attach it there with mode: generic"
            )


def _check_members(plan: Plan, attaching: t.Container[int], stack: Stack) -> None:
    """Raises FleetError if it is for a bond, whose native mode uses the members, and one of them has a program."""
    name, interface = plan.seen.place.name, plan.seen.interface
    device = stack.devices.get(plan.seen.ifindex)
    if not device or device.kind != "bond" or all(_mode(step) != "native" for step in plan.steps):
        return
    members = [stack.devices[low] for low in stack.below.get(plan.seen.ifindex, ())]
    busy = sorted(member.name for member in members if member.xdp or member.ifindex in attaching)
    if busy:
        raise FleetError(
            f"cannot attach {name} to {interface} in native mode: it would run on all its members, and"
            f" {' and '.join(busy)} has, or would have, a program; set mode: generic for {interface}, or"
            f" attach to {interface} or to its members only"
        )


def _mode(step: Step) -> t.Optional[str]:
    if isinstance(step, Attach):
        return step.mode
    return step.attachment.mode if isinstance(step, PutBack) else None


def arrange(plans: t.Sequence[Plan], around: Around) -> Order:
    """The lower interfaces first; programs above are detached before, and attached again after. Pure."""
    stack = around.stack
    nodes = {plan.seen.ifindex: plan for plan in plans if attaches(plan)}
    covering = {up for index in nodes for up in stack.covering(index)}
    nodes.update({plan.seen.ifindex: plan for plan in plans if plan.seen.ifindex in covering and _adopted(plan)})
    for up in covering - nodes.keys():
        seen = around.seen[up]
        nodes[up] = next((plan for plan in plans if plan.seen.place == seen.place), None) or _unchanged(seen)
    opening: t.Dict[int, Plan] = {}
    for up in covering:
        below = tuple(stack.devices[low].name for low in stack.below[up] if low in nodes)
        opening[up], nodes[up] = _halves(nodes[up], below)
    groups: t.List[t.Tuple[int, Group]] = []
    for family in _families(stack, nodes):
        lifted = [opening[index] for index in reversed(family) if index in covering]
        alone = [index for index in family if index not in covering and _is_apart(nodes, index, stack)]
        groups += [(stack.depth(index), (nodes[index],)) for index in alone]
        parts = [*lifted, *(nodes[index] for index in family if index not in alone)]
        for group in [tuple(parts)] if lifted else [(part,) for part in parts]:
            groups.append((min(stack.depth(part.seen.ifindex) for part in group), group))
    done = {plan.seen.place for plan in nodes.values()}
    groups += [(0, (plan,)) for plan in plans if plan.seen.place not in done]
    in_order = tuple(group for _depth, group in sorted(groups, key=lambda each: each[0]))
    return Order(_merged(plans, in_order), in_order)


def _is_apart(nodes: t.Mapping[int, Plan], index: int, stack: Stack) -> bool:
    """Whether it is what a killed run left, and nothing here waits for it: then nothing fails with it."""
    back = any(isinstance(step, PutBack) for step in nodes[index].steps)
    return back and not any(up in nodes for up in stack.above.get(index, ()))


def _families(stack: Stack, nodes: t.Iterable[int]) -> t.Iterator[t.List[int]]:
    """Those that stand on each other, directly or by others of them, the lowest first."""
    left = dict.fromkeys(nodes)
    while left:
        family, todo = [], list(left)[:1]
        while todo:
            one = todo.pop()
            if one in left:
                del left[one]
                family.append(one)
                todo += [*stack.above.get(one, ()), *stack.below.get(one, ())]
        yield sorted(family, key=stack.depth)


def _unchanged(seen: Seen) -> Plan:
    state = describe(seen)
    return Plan(seen, (), state, state)


def _halves(plan: Plan, below: t.Tuple[str, ...]) -> t.Tuple[Plan, Plan]:
    """Until nothing is attached, and from then on."""
    for number, step in enumerate(plan.steps):
        if isinstance(step, Attach):
            return plan._replace(steps=plan.steps[:number]), plan._replace(steps=plan.steps[number:])
    name = plan.seen.place.name
    adopted = _adopted(plan)
    first = plan.steps.index(adopted) + 1 if adopted else int(isinstance(next(iter(plan.steps), None), Move))
    ours = t.cast(Attachment, plan.seen.ours)
    if adopted:
        hook = adopted.hook
        ours = Attachment(adopted.by, t.cast(int, hook.link_id), hook.program.id, plan.seen.ifindex, hook.mode)
    return (
        plan._replace(steps=(*plan.steps[:first], Lift(name, ours, below))),
        plan._replace(steps=(PutBack(name, ours), *plan.steps[first:])),
    )


def _adopted(plan: Plan) -> t.Optional[Adopt]:
    """The step that pins our program's link again, before which nothing tells that it is ours."""
    return next((step for step in plan.steps if isinstance(step, Adopt)), None)


def _merged(plans: t.Sequence[Plan], groups: t.Sequence[Group]) -> t.Tuple[Plan, ...]:
    """Each plan with all its steps: the requested ones first, in the user's order."""
    steps: t.Dict[Place, t.Tuple[Step, ...]] = {}
    whole = {plan.seen.place: plan for plan in plans}
    for group in groups:
        for part in group:
            place = part.seen.place
            whole.setdefault(place, part)
            steps[place] = (*steps.get(place, ()), *part.steps)
    return tuple(plan._replace(steps=steps[place]) for place, plan in whole.items())

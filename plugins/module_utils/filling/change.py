# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply for the entries of maps: the spine of the module bpf_map."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..deploy.declared import Filling
from ..deploy.filling import Compared, compare, fill, fill_slot, filling_of, kept, shown
from ..deploy.request import reachable_of
from ..deploy.steps import Fill, Keep
from ..entries import writing
from ..entries.difference import Difference
from ..errors import FleetError, said, undone_by
from ..libbpf.elements import Elements
from ..libbpf.library import Libbpf
from ..persist.lists import read_list, write_list
from ..state.locks import LOCK_SECONDS, lock, of_changes
from ..state.places import Place, escape, map_pin
from ..state.trusted import Read
from .named import named
from .opened import Named, Slot

if t.TYPE_CHECKING:
    from ..deploy.provisional import Held
    from ..reach.targets import Target

Facts = t.Dict[str, t.Any]


class Plan(t.NamedTuple):
    """What is to be done with one map; `step` None: it has these entries. `keeps`: what is restored after a reboot.

    not_restored: what is missing then, though the program is there; "" if nothing.
    """

    map: Named
    found: Compared
    step: t.Optional[Fill]
    keeps: t.Tuple[Keep, ...] = ()
    not_restored: str = ""

    @property
    def map_id(self) -> t.Optional[int]:
        """None: a new map takes its place."""
        return None if self.step and self.step.fresh else self.map.info.id

    @property
    def steps(self) -> t.Iterator[str]:
        if self.step:
            yield str(self.step)
        for each in self.keeps:
            yield f"{each}, on {self.map.interface}"


def fill_maps(
    lib: Libbpf,
    options: t.Mapping[str, t.Any],
    check: bool,
    warn: t.Callable[[str], None],
    read: Read,
) -> Facts:
    """The result of bpf_map. `read`: of files on the host. Raises FleetError, with nothing changed."""
    with contextlib.ExitStack() as held:
        if not check:
            # The provisional change of a different run may last as long as ours would.
            held.enter_context(lock(of_changes(), LOCK_SECONDS + options["rollback_after"], warn))
        plans = [_plan(lib, each, options, read) for each in named(lib, options, held, "to fill")]
        result = result_of([facts_of(plan.map.interface, plan.map_id, plan.found, plan.step) for plan in plans])
        for plan in plans:
            for words in filter(None, (writing.warning(str(plan.map), plan.map.info.shape), plan.not_restored)):
                warn(words)
        result["steps"] = [step for plan in plans for step in plan.steps]
        result["changed"] = bool(result["steps"])
        result["diff"] = diff_of({str(plan.map): (plan.found.filling, plan.step) for plan in plans if plan.step})
        if result["changed"] and not check:
            changes = Changes(lib, plans)
            if options["rollback_after"]:
                held_change = changes.hold(options["rollback_after"], reachable_of(options))
                result["provisional"] = {"token": held_change.token}
                if held_change.reached:
                    result["reached"] = held_change.reached
            else:
                changes.make()
        return result


def _plan(lib: Libbpf, found: Named, options: t.Mapping[str, t.Any], read: Read) -> Plan:
    shape = found.info.shape
    writing.check_type(str(found), shape)
    if found.section:
        raise FleetError(f"{found} has global variables: set them with variables of ebpf.fleet.xdp_program")
    try:
        filling = filling_of(lib, escape(str(found)), shape, found.typed(options["formats"]), options, read)
    except FleetError as error:
        raise FleetError(f"{found}: {error}") from error
    seen = {} if found.fd < 0 else {filling.pin: _seen(lib, found, filling)}
    compared = compare([filling], {filling.pin: shape}, seen)[filling.pin]
    step = fill_slot(compared) if found.slot else fill(compared, fresh=False, carry=False)
    obstacle, persist = _obstacle(found), options["persist"]
    if obstacle and persist == "true":
        raise FleetError(obstacle)
    keeps = _keeps(found, filling, bool(step and step.fresh), not obstacle and persist != "false")
    return Plan(found, compared, step, keeps, obstacle if step and found.is_restored and persist != "false" else "")


def _obstacle(found: Named) -> str:
    """Why its entries cannot be restored after a reboot, "" if they can."""
    if not found.place:
        return "persist needs name and map: what is restored after a reboot is a program with its maps"
    if not found.is_restored:
        return _unrestored(found.place)
    if found.slot and found.slot.obstacle:
        return f"{found} is not restored after a reboot: {found.slot.obstacle}; run the task again then"
    return ""


def _keeps(found: Named, filling: Filling, new: bool, restored: bool) -> t.Tuple[Keep, ...]:
    """What changes in the lists that are restored after a reboot, with the program. new: a new map gets into the slot.

    The list of a map that the source puts into a slot is kept under its own name, and goes when the map does.
    """
    if not found.place or not found.is_restored:
        return ()
    now = found.slot.kept_as if found.slot else map_pin(os.path.basename(found.path))
    then = found.slot.pin if found.slot and new else now
    before = {pin: read_list(found.place, pin) or {} for pin in (now, then)}
    after = {now: {}, then: kept(filling, before[now]) if restored else {}}
    return tuple(
        Keep(pin, after[pin], found.slot_name if found.slot and pin == found.slot.pin else "")
        for pin in after
        if after[pin] != before[pin]
    )


def check_restored(place: Place) -> None:
    """Raises FleetError if the program is not restored after a reboot."""
    if not os.path.exists(place.manifest):
        raise FleetError(_unrestored(place))


def _unrestored(place: Place) -> str:
    return (
        f"{place.name} is not restored on {place.interface} after a reboot, so its entries cannot be either:"
        " set persist in the xdp_program task first"
    )


def _seen(lib: Libbpf, found: Named, filling: Filling) -> t.Dict[bytes, bytes]:
    keys = None if filling.declared.exclusive or filling.at_once else filling.declared.values
    shape = found.info.shape
    return writing.seen_entries(Elements(lib, found.fd, shape), shape, keys, filling.how.key.canonical)


def facts_of(interface: t.Optional[str], number: t.Optional[int], found: Compared, step: t.Optional[Fill]) -> Facts:
    """Of one map, as bpf_map returns it. `number`: its id, if that is known."""
    made = step.seen if step else Difference()
    entries = len(found.seen or ()) + len(made.added) - len(made.removed)
    return {
        "interface": interface,
        "id": number,
        **{name: len(rows) for name, rows in made._asdict().items()},
        "entries": found.shape.max_entries if found.shape.type in writing.FIXED else entries,
        "max_entries": found.shape.max_entries,
    }


def result_of(maps: t.Sequence[Facts]) -> Facts:
    summed = ("added", "updated", "removed", "entries", "max_entries")
    totals = {name: sum(each[name] for each in maps) for name in summed}
    return {"changed": any(totals[name] for name in summed[:3]), **totals, "maps": list(maps)}


def diff_of(changed: t.Mapping[str, t.Tuple[Filling, Fill]]) -> Facts:
    sides: t.Dict[str, Facts] = {"before": {}, "after": {}}
    for name, (filling, step) in changed.items():
        for side, rows in zip(sides.values(), shown(filling, step.seen)):
            side[name] = rows
    return sides


class Changes:
    """All of them, or none."""

    def __init__(self, lib: Libbpf, plans: t.Sequence[Plan]) -> None:
        self._lib = lib
        self._plans = plans
        self._undo = contextlib.ExitStack()
        self._provisional = False

    def make(self) -> Facts:
        """Raises FleetError; what was written until then is taken back."""
        with undone_by(self.roll_back):
            for plan in self._plans:
                if plan.step and plan.step.fresh:
                    self._swap_slot(plan.map, plan.step)
                elif plan.step:
                    elements = Elements(self._lib, plan.map.fd, plan.map.info.shape)
                    self._undo.callback(writing.undo, elements, plan.step.made)
                    writing.write(str(plan.map), elements, plan.map.info.shape, plan.step.made)
            if not self._provisional:
                self.keep()
        return {}

    def _swap_slot(self, where: Named, step: Fill) -> None:
        """`where` holds the map that is in the slot, for the undo."""
        from ..deploy.slots import OpenSlot, swap_in  # observing has imported it already

        slot = t.cast(Slot, where.slot)
        opened = OpenSlot(str(where), slot.fd, slot.key, where.fd, where.info)
        swap_in(self._lib, opened, step.made, self._undo.callback)

    def keep(self) -> Facts:
        """Change what is restored after a reboot, too."""
        for plan in self._plans:
            place = t.cast(Place, plan.map.place)  # else there is nothing to keep
            for each in plan.keeps:
                self._undo.callback(write_list, place, each.pin, read_list(place, each.pin))
                write_list(place, each.pin, each.entries)
        return {"kept": True}

    def roll_back(self) -> None:
        """Raises FleetError where the kernel refuses it; the rest is undone."""
        try:
            self._undo.close()
        except OSError as error:
            raise FleetError(f"the rollback failed: {said(error)}. Run the task again to repair the host") from error

    def hold(self, seconds: int, reachable: t.Sequence[Target]) -> Held:
        """Have a holder make the change; it takes it back unless it is confirmed in time."""
        from ..deploy.provisional import Change, hold
        from ..kernel import remedies  # noqa: F401  now: the holder outlives the file that contains the module

        self._provisional = True
        return hold(seconds, Change(self.make, self.keep, self.roll_back), reachable)

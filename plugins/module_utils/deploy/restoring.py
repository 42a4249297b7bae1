# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for what a host restores after a reboot. Pure."""

from __future__ import annotations

import typing as t

from ..errors import FleetError
from ..persist.manifests import Manifest
from ..persist.persistence import Persistence
from ..state.deployed import Deployed
from ..state.places import outer_pin
from .observe import Seen
from .planned import forget
from .request import Wanted

if t.TYPE_CHECKING:
    from .steps import Step


def plan_restoring(
    wanted: Wanted, seen: Seen, target: Deployed, live: bool
) -> t.Tuple[bool, t.List[Step], t.Tuple[str, ...]]:
    """Whether it is restored after a reboot, the steps for that, and warnings. `live`: it will run on the interface."""
    there = t.cast(Persistence, seen.persistence)
    if live and not wanted.persist and there.damage:  # the user did not say what to do about it
        warning = (
            f"{there.damage}. It is kept because persist is not set; until you set it, {wanted.name} is not"
            f" restored on {seen.interface} after a reboot"
        )
        return False, [], (warning,)
    if wanted.persist == "true" and live and there.obstacle:
        raise FleetError(
            f"{wanted.name} cannot be restored on {seen.interface} after a reboot: {there.obstacle};"
            f" set persist: auto (only where the host supports it) or persist: false"
        )
    asked = {"true": True, "false": False, "auto": not there.obstacle}.get(wanted.persist or "", seen.persistent)
    if not live or not asked:
        return False, forget(seen), ()
    manifest = Manifest(target, wanted.replace, unsafe=wanted.unsafe, globals=_globals(wanted, there, target))
    steps: t.List[Step] = list(_keep(wanted, there))
    if there.manifest and there.whole:
        generic = seen.mode == "generic" if seen.attached else there.manifest.generic
        if there.manifest == manifest._replace(generic=generic):
            return True, steps, ()
    from .steps import Persist  # imported here, because a target compiles what it imports

    return True, [*steps, Persist(manifest)], ()


def _globals(wanted: Wanted, there: Persistence, target: Deployed) -> t.Dict[str, t.Any]:
    """Of a variable that this task does not list, what those before it declared: it keeps that until a reboot, too."""
    same = there.manifest and there.manifest.deployed.checksum == target.checksum and not wanted.reset_maps
    before = there.manifest.globals if there.manifest and same else {}
    return {**before, **{each.name: each.value for each in wanted.settings if not each.constant}}


def _keep(wanted: Wanted, there: Persistence) -> t.Iterator[Step]:
    """The entries of maps, as this task and those before it declared them, without those of maps that are gone."""
    # Without a manifest, they are those of a program that is no longer restored: a run was killed that removed them.
    anew = wanted.reset_maps or not (there.manifest or there.damage)
    if not there.lists and not wanted.fillings:
        return
    from .steps import Keep  # imported here, because a target compiles what it imports

    if wanted.object.programs:
        gone = {pin for pin in there.lists if anew or outer_pin(pin) not in wanted.object.shared_maps}
        yield from (Keep(pin, None) for pin in sorted(gone - {each.pin for each in wanted.fillings}))
    if wanted.fillings:
        from .filling import kept

        for each in wanted.fillings:
            before = {} if anew else there.lists.get(each.pin) or {}
            after = kept(each, before)
            if after != (there.lists.get(each.pin) or {}):
                yield Keep(each.pin, after, each.name if each.slot else "")

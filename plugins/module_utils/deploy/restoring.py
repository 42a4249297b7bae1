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
from .observe import Seen
from .planned import forget
from .request import Wanted
from .steps import Persist, Step


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
    manifest = Manifest(target, wanted.replace, unsafe=wanted.unsafe)
    if there.manifest and there.whole:
        generic = seen.mode == "generic" if seen.attached else there.manifest.generic
        if there.manifest == manifest._replace(generic=generic):
            return True, [], ()
    return True, [Persist(manifest)], ()

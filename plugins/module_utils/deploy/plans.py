# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans for all interfaces of a request, and what is read for them beside what observe.py has seen."""

from __future__ import annotations

import typing as t

from ..errors import FleetError
from .current import concerns_sharing
from .observe import Seen
from .plan import keeps_maps, maps_there, plan, resized
from .planned import Plan
from .request import PRESENT, Wanted

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..objects.image import Image
    from ..state.places import Place
    from .contents import Cache

# A target compiles what it imports, in each task: rarely needed modules are imported where they are used.


def plans_for(
    lib: Libbpf, wanted: Wanted, seen: t.List[Seen], image: Image, left: t.Container[Place]
) -> t.Tuple[t.List[Plan], t.Dict[str, str]]:
    """Also what is wrong, by interface. `left`: places of which the host is only to forget that it restores them."""
    if wanted.state in PRESENT and any(concerns_sharing(wanted, each) for each in seen):
        from .sharing import shared_anywhere, with_run_config

        if shared_anywhere(wanted, seen):
            wanted = with_run_config(wanted, image)
    if wanted.state in PRESENT:
        wanted, seen = _with_contents(lib, wanted, seen, image)
    plans, errors = [], {}
    for each in seen:
        try:
            plans += [plan(wanted, each)] if each.place not in left else _only_forget(each)
        except FleetError as error:
            errors[each.interface] = str(error)
    return plans, errors


def _with_contents(lib: Libbpf, wanted: Wanted, seen: t.List[Seen], image: Image) -> t.Tuple[Wanted, t.List[Seen]]:
    """With what is in the maps, as far as the plan depends on it."""
    keeps = any(keeps_maps(wanted, each) for each in seen)
    if keeps or any(not each.constant for each in wanted.settings):
        from .contents import contents_of_maps, contents_of_object

        if keeps:
            wanted = wanted._replace(contents=contents_of_object(lib, image))
        cache: Cache = {}
        seen = [
            each._replace(contents=contents_of_maps(lib, (*each.held.values(), *each.maps.values()), cache))
            for each in seen
        ]
    if wanted.fillings or any(resized(wanted, each) for each in seen):
        from .filling import observe as observe_entries
        from .slots import check_slots, maps_in_slots

        for at, each in enumerate(seen):
            there, changed = maps_there(wanted, each), resized(wanted, each)
            if not wanted.reset_maps:
                check_slots(lib, image, each.interface, there, [one.pin for one in wanted.fillings], changed)
            there.update(maps_in_slots(lib, wanted.fillings, there))
            seen[at] = each._replace(entries=observe_entries(lib, wanted.fillings, there, changed))
    return wanted, seen


def _only_forget(seen: Seen) -> t.List[Plan]:
    from .removal import plan_forget  # here: a target compiles what it imports, and this is rare

    return plan_forget(seen)

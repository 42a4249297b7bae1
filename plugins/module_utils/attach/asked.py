# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a program is, as a task that reads or fills its maps names it."""

from __future__ import annotations

import os
import typing as t

from ..libbpf.library import Libbpf
from ..state.identity import former_roots, root_of_namespace
from ..state.places import Place, check_name, places_of
from ..state.trusted import check_pins
from .interfaces import resolve


def places_asked(lib: Libbpf, options: t.Mapping[str, t.Any], purpose: str) -> t.List[Place]:
    """The places on the interfaces that the user named, deployed or not, else on all with this program.

    `options`: name, interfaces, pin_root and allow_unsafe_paths; `purpose`: what is to be done with the pins. Raises
    FleetError if an option cannot be used, or if other users could have pinned something else there.
    """
    name = check_name(options["name"])
    root = root_of_namespace(options["pin_root"])
    if not os.path.isdir(root):
        from ..state.bpffs import check_root, reach  # here: a target compiles what it imports

        check_root(root)  # raises if nothing can be pinned there
        reach(root, lasting=False, make=False)
    places = places_of(root, name)
    former = former_roots(options["pin_root"])
    moved: t.Dict[Place, Place] = {}
    if former:
        from .owners import former_places  # here: few hosts need this

        moved = former_places(lib, root, former, name)
        places += [place for place in moved if place not in places]
    if options["interfaces"] is not None:
        places = [Place(root, name, each) for each in resolve(options["interfaces"])]
    found = [moved.get(place, place) for place in places]
    if not options["allow_unsafe_paths"]:
        check_pins(found, purpose)
    return found

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps that a task names: by program, interfaces and map, by a pin, or by an id; and by a slot of such a map."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..attach.asked import places_asked
from ..deploy.observe import observe_settled
from ..errors import FleetError
from ..libbpf.info import map_info
from ..libbpf.kinds import MAPS_OF_MAPS
from ..libbpf.library import BpfError, Libbpf
from ..state.places import Place, map_pin, unescape
from ..state.trusted import check_trusted
from .opened import Named, types_of


def named(lib: Libbpf, options: t.Mapping[str, t.Any], held: contextlib.ExitStack, purpose: str) -> t.List[Named]:
    """Open them; `held` closes them. Raises FleetError if one does not exist, or others could have pinned it."""
    found = _named_by_task(lib, options, held, purpose)
    if options["slot"] is None:
        return found
    from .slots import in_slot  # here: a target compiles what it imports, and few maps are maps of maps

    return [in_slot(lib, each, options["slot"], held) for each in found]


def _named_by_task(
    lib: Libbpf, options: t.Mapping[str, t.Any], held: contextlib.ExitStack, purpose: str
) -> t.List[Named]:
    if options.get("id") is not None:
        with _explained(f"there is no map with the id {options['id']}"):
            fd = held.enter_context(lib.map_by_id(options["id"]))
        return [opened(lib, fd, "")]
    if options["pinned"] is not None:
        path = options["pinned"]
        if not options["allow_unsafe_paths"]:
            check_trusted(path, purpose)
        with _explained(f"there is no map pinned at {path}"):
            fd = held.enter_context(lib.get(path))
        if lib.kind(fd) != "map":
            raise FleetError(f"{path} is no map: what is pinned there is a {lib.kind(fd)}")
        return [opened(lib, fd, path)]
    found = []
    for place in deployed_places(lib, options, purpose):
        path = place.map(map_pin(options["map"]))
        there = ", ".join(sorted(unescape(os.path.basename(each)) for each in place.pins() if "/maps/" in each))
        missing = f"{place.name} has no map {options['map']} on {place.interface}"
        with _explained(
            f"{missing}; it has {there}" if there else f"{place.name} is not deployed on {place.interface}"
        ):
            fd = held.enter_context(lib.get(path))
        found.append(opened(lib, fd, path, place))
    _check_used(lib, found)
    return found


def _check_used(lib: Libbpf, found: t.Sequence[Named]) -> None:
    """A run that was killed may leave pins of maps that only its own program uses. Raises FleetError."""
    for each, seen in zip(found, observe_settled(lib, [t.cast(Place, each.place) for each in found])):
        # A map that it does not use may be that of a program that it calls.
        if each.info.id not in seen.held and any(other.name == each.info.name for other in seen.held.values()):
            raise FleetError(
                f"{each} is not the map that the program uses, as a run was killed: run the xdp_program task that"
                " deploys it once more"
            )
        if each.info.id not in seen.held and any(other.shape.type in MAPS_OF_MAPS for other in seen.held.values()):
            from .slots import check_in_its_slot  # here: a target compiles what it imports, and few maps need this

            check_in_its_slot(lib, each, seen)


def deployed_places(lib: Libbpf, options: t.Mapping[str, t.Any], purpose: str) -> t.List[Place]:
    """On the interfaces that the user named, else on all with this program. Raises FleetError if it is on none."""
    found = places_asked(lib, options, purpose)
    if options["interfaces"] is None:
        found = [each for each in found if each.pins()]  # of an interface that is gone, a manifest may be left
    if not found:
        raise FleetError(f"{options['name']} is on no interface of this host; deploy it with ebpf.fleet.xdp_program")
    return found


@contextlib.contextmanager
def _explained(missing: str) -> t.Iterator[None]:
    try:
        yield
    except BpfError as error:
        if error.errno != errno.ENOENT:
            raise
        raise FleetError(missing) from error


def opened(lib: Libbpf, fd: int, path: str, place: t.Optional[Place] = None) -> Named:
    info = map_info(lib, fd)
    return Named(place.interface if place else None, place, path, fd, info, types_of(lib, info.btf_id))

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the programs that are held by links which this collection pinned."""

from __future__ import annotations

import os
import typing as t

from ..libbpf import info
from ..libbpf.library import Libbpf
from ..state.places import Place, pinned_names, places_of
from .hooks import Hook
from .interfaces import find_interface
from .ways import runs_here


def pinned_links(lib: Libbpf, where: t.Iterable[Place]) -> t.Dict[int, Place]:
    """The links that are pinned at these places, by id."""
    found = ((info.read_pin(lib, place.link, "link", info.link_info), place) for place in where)
    return {link.id: place for link, place in found if link}


def deployed_programs(lib: Libbpf, where: t.Iterable[Place]) -> t.Dict[int, Place]:
    """By id, the programs that are pinned at these places, or in their records: in a dispatcher, no link is ours."""
    from ..state.records import read_record  # here: a target compiles what it imports, and few hosts need this

    found: t.Dict[int, Place] = {}
    for place in where:
        pinned, record = info.read_pin(lib, place.program, "prog", info.program_info), read_record(place)
        ids = {pinned.id if pinned else 0, *((record.program_id, record.before) if record else ())}
        found.update({number: place for number in ids if number})
    return found


def former_places(lib: Libbpf, root: str, former: t.Iterable[str], name: str) -> t.Dict[Place, Place]:
    """Where older releases pinned what runs on interfaces of this network namespace, by the place that it has now.

    Other namespaces pinned there too, so the program must be seen to run on the interface here.
    """
    found: t.Dict[Place, Place] = {}
    for old in [each for one in former for each in places_of(one, name)]:
        place = old._replace(root=root)
        link = None if os.path.isdir(place.folder) else info.read_pin(lib, old.link, "link", info.link_info)
        if link and link.ifindex == find_interface(old.interface)[1] and runs_here(link):
            found[place] = old
    return found


def with_owners(lib: Libbpf, place: Place, others: t.Tuple[Hook, ...]) -> t.Tuple[Hook, ...]:
    """Set pinned_as where our link for a different interface holds the program, and owner where one of another name."""
    ours = pinned_links(lib, [each for each in places_of(place.root, place.name) if each != place])
    names = [each for each in pinned_names(place.root) if each != place.name]
    beside = pinned_links(lib, [Place(place.root, each, place.interface) for each in names])
    found = []
    for hook in others:
        owner, other = hook.pinned_by(ours), hook.pinned_by(beside)
        if hook.components:
            where = [each for each in places_of(place.root, place.name) if each != place]
            same = deployed_programs(lib, where)
            owner = next((same[each.program.id] for each in hook.components if each.program.id in same), None)
        found.append(hook._replace(pinned_as=owner and owner.interface, owner=other and other.name))
    return tuple(found)

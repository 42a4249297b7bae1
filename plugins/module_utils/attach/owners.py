# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the programs that are held by links which this collection pinned."""

from __future__ import annotations

import typing as t

from ..libbpf import info
from ..libbpf.library import Libbpf
from ..state.places import Place, places_of
from .hooks import Hook


def pinned_links(lib: Libbpf, where: t.Iterable[Place]) -> t.Dict[int, Place]:
    """The links that are pinned at these places, by id."""
    found = ((info.read_pin(lib, place.link, "link", info.link_info), place) for place in where)
    return {link.id: place for link, place in found if link}


def with_owners(lib: Libbpf, place: Place, others: t.Tuple[Hook, ...]) -> t.Tuple[Hook, ...]:
    """Set pinned_as where our link for a different interface holds the program."""
    ours = pinned_links(lib, [each for each in places_of(place.root, place.name) if each != place])
    owners = [hook.pinned_by(ours) for hook in others]
    return tuple(hook._replace(pinned_as=owner and owner.interface) for hook, owner in zip(others, owners))

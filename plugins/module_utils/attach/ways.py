# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways by which a program gets onto an interface: a file each, in one table.

Who adds a way writes its file, with the functions of Way, and names it in WAYS. What it changes it does through Work,
with an undo for each thing: so that it can be taken back, and held provisionally.
"""

from __future__ import annotations

import typing as t

from ..libbpf.library import BpfError
from . import link
from .link import BUSY_ERRORS

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..state.places import Place
    from .hooks import Attachment, Hook
    from .work import Work

    class Way(t.Protocol):
        """A module of this package. Raises BpfError in the kernel's words, FleetError in ours."""

        def observe(self, lib: Libbpf, place: Place, ifindex: int, here: t.Iterable[Hook]) -> t.Optional[Attachment]:
            """Our attachment of this way at a place, dead or alive; `here` is what is on its interface."""

        def lost(self, program_id: int, here: t.Iterable[Hook]) -> t.Optional[Hook]:
            """Our program on the interface, if what is pinned no longer says so."""

        def adopt(self, work: Work, place: Place, hook: Hook) -> None:
            """Pin again what was lost."""

        def attach(self, work: Work, place: Place, ifindex: int, program: int, mode: str) -> None:
            """Attach a program, by its file descriptor, in a mode, and pin what holds it."""

        def swap(self, work: Work, place: Place, program: int) -> None:
            """Put another program in the place of the one that runs; each packet passes one of them."""

        def detach(self, work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
            """Detach, and leave no pin of the attachment. Undone, the program is back in the mode that it had."""


WAYS: t.Dict[str, Way] = {"link": link}


def observe(lib: Libbpf, place: Place, ifindex: int, here: t.Sequence[Hook]) -> t.Optional[Attachment]:
    """Our attachment at a place, by whichever way."""
    for way in WAYS.values():
        found = way.observe(lib, place, ifindex, here)
        if found:
            return found
    return None


def lost(program_id: int, here: t.Sequence[Hook]) -> t.Optional[t.Tuple[str, Hook]]:
    """Our program without its pin, and by which way it is attached."""
    for name, way in WAYS.items():
        found = way.lost(program_id, here)
        if found:
            return name, found
    return None


def attach(work: Work, by: str, place: Place, ifindex: int, program: int, mode: str) -> None:
    """As Way.attach(); mode 'auto' is native, or with a warning generic where the driver refuses that."""
    way = WAYS[by]
    if mode != "auto":
        way.attach(work, place, ifindex, program, mode)
        return
    try:
        way.attach(work, place, ifindex, program, "native")
    except BpfError as error:
        if error.errno in BUSY_ERRORS:
            raise
        way.attach(work, place, ifindex, program, "generic")
        work.warn(
            f"{place.interface} does not take {place.name} in native mode ({error.strerror}),"
            f" so it is attached in generic mode, which is slower;"
            f" set mode: generic to say that this is wanted"
        )

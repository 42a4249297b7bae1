# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions of a way of attaching. For type checking only: nothing imports this at run time."""

from __future__ import annotations

import typing as t

from ..sharing.config import Slot
from ..state.places import Place
from .hooks import Attachment, Hook
from .work import Work


class Way(t.Protocol):
    """A module of this package. Raises BpfError with the kernel's words, FleetError with ours."""

    def unpinned(self, program_id: int, here: t.Iterable[Hook]) -> t.Optional[Hook]:
        """Our program on the interface, if what holds it is no longer pinned."""

    def adopt(self, work: Work, place: Place, hook: Hook) -> None:
        """Pin again what holds our program."""

    def attach(self, work: Work, place: Place, ifindex: int, program: int, mode: str, slot: t.Optional[Slot]) -> None:
        """Attach a program, by its file descriptor, and pin what holds it. Mode 'auto': native, else generic.

        `slot`: where it stands among others, if the way shares an interface. Raises FleetError with the driver's words.
        """

    def swap(
        self, work: Work, place: Place, ours: t.Optional[Attachment], program: int, slot: t.Optional[Slot]
    ) -> None:
        """Replace the running program, or move it; each packet meets the old program or the new one.

        `ours` None: what holds it was pinned again just now.
        """

    def detach(self, work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
        """Detach, and remove the pin of the attachment. The undo attaches the program again in its old mode."""

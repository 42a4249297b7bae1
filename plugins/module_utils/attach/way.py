# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a way of attaching has to have. For types only: nothing imports this when it runs."""

from __future__ import annotations

import typing as t

from ..state.places import Place
from .hooks import Attachment, Hook
from .work import Work


class Way(t.Protocol):
    """A module of this package. Raises BpfError in the kernel's words, FleetError in ours."""

    def lost(self, program_id: int, here: t.Iterable[Hook]) -> t.Optional[Hook]:
        """Our program on the interface, if what is pinned no longer says so."""

    def adopt(self, work: Work, place: Place, hook: Hook) -> None:
        """Pin again what was lost."""

    def attach(self, work: Work, place: Place, ifindex: int, program: int, mode: str) -> None:
        """Attach a program, by its file descriptor, and pin what holds it. Mode 'auto': native, else generic."""

    def swap(self, work: Work, place: Place, program: int) -> None:
        """Put another program in the place of the one that runs; each packet passes one of them."""

    def detach(self, work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
        """Detach, and leave no pin of the attachment. Undone, the program is back in the mode that it had."""

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XDP by BPF link: the way in which this collection attaches. A pinned link keeps a program on an interface."""

from __future__ import annotations

import errno
import os
import time
import typing as t

from ..errors import FleetError
from ..kernel.symbols import kernel_has
from ..libbpf import info, links
from ..libbpf.library import BpfError, Fd
from ..state.private_files import remove

if t.TYPE_CHECKING:
    from ..sharing.config import Slot
    from ..state.places import Place
    from .hooks import Attachment, Hook
    from .work import Work

BUSY_SECONDS = 2.0
BUSY_ERRORS = (errno.EBUSY, errno.EEXIST)


def unpinned(program_id: int, here: t.Iterable[Hook]) -> t.Optional[Hook]:
    """Our program, held by a link whose pin was removed while a process still holds its file descriptor."""
    return next((hook for hook in here if hook.link_id is not None and hook.program.id == program_id), None)


def adopt(work: Work, place: Place, hook: Hook) -> None:
    """Pin the link again."""
    with work.lib.link_by_id(t.cast(int, hook.link_id)) as link:
        work.pin(link, place.link)


def attach(work: Work, place: Place, ifindex: int, program: int, mode: str, _slot: t.Optional[Slot] = None) -> None:
    """Mode 'auto' is native, or generic with a warning if the driver rejects native mode."""
    if mode == "generic":
        refuse_to_panic(place)
    if mode != "auto":
        _attach(work, place, ifindex, program, mode)
        return
    try:
        _attach(work, place, ifindex, program, "native")
    except Rejected as native:
        refuse_to_panic(place, f"; it rejected native mode: {native.why}{native.remedy}")
        _attach(work, place, ifindex, program, "generic")
        work.warn(
            f"{place.interface} rejected {place.name} in native mode: {native.why};"
            f" it is attached in generic mode, which is slower{native.remedy};"
            f" if generic mode is what you want, set mode: generic"
        )


class Rejected(FleetError):
    """The kernel or the driver does not attach the program. `remedy` begins with '; ' if one is known."""

    def __init__(self, place: Place, mode: str, why: str, remedy: str, by: str = "link") -> None:
        super().__init__(f"cannot attach by {by}, mode {mode} for {place.name} on {place.interface}: {why}{remedy}")
        self.why = why
        self.remedy = remedy


def _attach(work: Work, place: Place, ifindex: int, program: int, mode: str) -> None:
    try:
        link = work.hold(_create(work, place, ifindex, program, mode))
    except BpfError as error:
        # Here and not in _create(): a rollback may happen when there is no file any more to import from.
        from .refusal import refusal

        rejected = Rejected(place, mode, *refusal(work.lib, place.interface, ifindex, program, mode, error))
        if error.errno in BUSY_ERRORS:  # the hook is taken, so a different mode is no way out
            raise FleetError(str(rejected)) from error
        raise rejected from error
    work.undo(remove, place.link)
    work.undo(links.detach, work.lib, link)
    work.pin_at_last(link, place.link)
    warn_if_inexact(work, place, ifindex, mode)


def refuse_to_panic(place: Place, native: str = "") -> None:
    from .exactness import panics  # here: a target compiles what it imports, and rarely needs this

    because = panics(place.interface)
    if because:
        raise FleetError(f"cannot attach {place.name} to {place.interface} in generic mode: {because}{native}")


def warn_if_inexact(work: Work, place: Place, ifindex: int, mode: str) -> None:
    from .exactness import inexact_because  # here: a target compiles what it imports, and rarely needs this

    because = inexact_because(place.interface, ifindex, mode)
    if because:
        work.warn(f"{place.name} on {place.interface} does not see each frame as it was on the wire: {because}")


def swap(work: Work, place: Place, _ours: t.Optional[Attachment], program: int, _slot: t.Optional[Slot] = None) -> None:
    """Replace the running program atomically: each packet meets the old program or the new one."""
    link = work.hold(work.lib.get(place.link))
    old = work.hold(work.lib.program_by_id(info.link_info(work.lib, link).program_id))
    links.update(work.lib, link, program, old)
    work.undo(links.update, work.lib, link, old, program)


def detach(work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
    """Detach first: after only an unpin, the kernel frees the hook some time later."""
    if not ours.alive:
        remove(place.link)
        return
    if ours.elsewhere:
        work.unpin(place.link)  # the undo pins it again: from here, it could not be attached again
        return
    old = work.hold(work.lib.program_by_id(ours.program_id))
    with work.lib.get(place.link) as link:
        links.detach(work.lib, link)
    if ours.mode:
        work.undo(_restore, work, place, ifindex, old, ours.mode)
    os.unlink(place.link)


def _restore(work: Work, place: Place, ifindex: int, program: int, mode: str) -> None:
    work.replace_pin(work.hold(_create(work, place, ifindex, program, mode)), place.link)


def _create(work: Work, place: Place, ifindex: int, program: int, mode: str) -> Fd:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return links.create(work.lib, program, ifindex, mode)
        except BpfError as error:
            if error.errno == errno.EINVAL and not kernel_has("bpf_xdp_link_attach"):
                raise FleetError(
                    f"cannot attach {place.name} to {place.interface}: kernel {os.uname().release} does not"
                    f" support BPF links for XDP, which need 5.9; use a newer kernel"
                ) from error
            # A link that was just unpinned frees the hook a moment later.
            if error.errno not in BUSY_ERRORS or time.monotonic() > deadline:
                raise
            time.sleep(0.02)

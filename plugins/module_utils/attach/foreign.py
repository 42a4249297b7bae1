# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else's XDP program: detached where the user says so, and restored where that is undone."""

from __future__ import annotations

import errno
import typing as t

from ..errors import FleetError
from ..libbpf import links
from ..libbpf.library import BpfError

if t.TYPE_CHECKING:
    from .hooks import Hook
    from .work import Work


def evict(work: Work, interface: str, ifindex: int, hook: Hook) -> None:
    """Detach it. It is restored by netlink: a link of its owner's cannot be made again."""
    program = work.hold(work.lib.program_by_id(hook.program.id))
    try:
        links.netlink_replace(work.lib, ifindex, -1, program, hook.mode)
    except BpfError as error:
        if error.errno != errno.EBUSY:  # EBUSY: it is held by a link
            raise
        if hook.link_id is None:
            raise FleetError(
                f"cannot take {hook} off {interface}: it is held by a link, and the kernel does not tell"
                f" which; detach it by hand with `bpftool link detach id ID`"
            ) from error
        with work.lib.link_by_id(hook.link_id) as link:
            links.detach(work.lib, link)
        work.notes.append("the other's program was put back, but attached by netlink, as its link cannot be made again")
    work.undo(links.netlink_replace, work.lib, ifindex, program, -1, hook.mode)

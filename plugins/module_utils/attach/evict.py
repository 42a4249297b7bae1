# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A foreign XDP program: detached if the user asks for that, and restored by a rollback."""

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
    """Detach it. The undo attaches it by netlink: its owner's link cannot be created again."""
    program = work.hold(work.lib.program_by_id(hook.program.id))
    try:
        links.netlink_replace(work.lib, ifindex, -1, program, hook.mode)
    except BpfError as error:
        if error.errno != errno.EBUSY:  # EBUSY: a link holds it
            raise
        if hook.link_id is None:
            raise FleetError(
                f"cannot detach {hook} from {interface}: a link holds it, and the kernel does not say which one;"
                f" detach it by hand with `bpftool link detach id ID`"
            ) from error
        with work.lib.link_by_id(hook.link_id) as link:
            links.detach(work.lib, link)
        work.notes.append("the foreign program was restored, but by netlink, because its link cannot be created again")
    work.undo(links.netlink_replace, work.lib, ifindex, program, -1, hook.mode)

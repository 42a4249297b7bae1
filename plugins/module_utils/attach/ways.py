# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to attach a program to an interface: one file for each, listed in one table.

Each pins a BPF link as the `link` of its place. A new way is a file with the functions of Way (way.py), named here. It
makes its changes through Work, with an undo for each, so that they can be rolled back and can be provisional.
"""

from __future__ import annotations

import typing as t

from ..kernel import rtnetlink
from ..libbpf import info
from .hooks import Attachment, Hook

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..state.places import Place
    from .way import Way

NAMES = ("link",)


def way(name: str) -> Way:
    """The way of this name, which is also the name of its file."""
    from . import link  # here: a target compiles what it imports, and modules that only read do not need it

    return {"link": link}[name]


def observe(lib: Libbpf, place: Place, ifindex: int, here: t.Iterable[Hook]) -> t.Optional[Attachment]:
    """Our attachment at a place, alive or dead; `here` are the programs on its interface."""
    link = info.read_pin(lib, place.link, "link", info.link_info)
    if not link:
        return None
    mode = None
    if link.ifindex == ifindex:
        mode = next((hook.mode for hook in here if hook.program.id == link.program_id), None)
    elsewhere = bool(link.ifindex) and mode is None and not runs_here(link)
    return Attachment("link", link.id, link.program_id, link.ifindex, mode, elsewhere)


def runs_here(link: info.LinkInfo) -> bool:
    """Whether a link's interface is in this network namespace: its index alone could be that of a different one."""
    interface = rtnetlink.interface(link.ifindex) if link.ifindex else None
    return interface is not None and link.program_id in interface.xdp.values()

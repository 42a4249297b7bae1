# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to attach a program to an interface: one file for each, listed in one table.

By link, the interface is ours alone, and the BPF link is pinned as the `link` of its place. By dispatcher, it is
shared: the program is one of several, and libxdp's pins hold it. A new way is a file with the functions of Way
(way.py), named here. It makes its changes through Work, with an undo for each, so that they can be rolled back and can
be provisional.
"""

from __future__ import annotations

import os
import typing as t

from ..kernel import rtnetlink
from ..libbpf import info
from .hooks import Attachment, Hook

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..state.places import Place
    from .way import Way

NAMES = ("link", "dispatcher")
WITH_LINKS = ("link",)  # which hold a link that may have lost its pin


def way(name: str) -> Way:
    """The way of this name, which is also the name of its file."""
    # Imported here: a target compiles what it imports, and modules that only read do not need it.
    if name == "dispatcher":
        from . import dispatcher

        return dispatcher
    from . import link

    return {"link": link}[name]


def observe(lib: Libbpf, place: Place, ifindex: int, here: t.Iterable[Hook]) -> t.Optional[Attachment]:
    """Our attachment at a place, alive or dead; `here` are the programs on its interface."""
    link = info.read_pin(lib, place.link, "link", info.link_info)
    if not link:
        return _in_dispatcher(lib, place, ifindex, here)
    mode = None
    if link.ifindex == ifindex:
        mode = next((hook.mode for hook in here if hook.program.id == link.program_id), None)
    elsewhere = bool(link.ifindex) and mode is None and not runs_here(link)
    return Attachment("link", link.id, link.program_id, link.ifindex, mode, elsewhere)


def _in_dispatcher(lib: Libbpf, place: Place, ifindex: int, here: t.Iterable[Hook]) -> t.Optional[Attachment]:
    """Our program in a dispatcher, which is known by its id: that of the pin, or of the record.

    An upgrade that was killed may have pinned the new program while the old one still runs. If its interface was
    renamed, it runs on one of another name: then it is alive, and has no mode here.
    """
    shared = any(hook.dispatcher for hook in here)
    if not shared and not os.path.exists(place.record):
        return None
    from ..state.records import read_record  # here: a target compiles what it imports, and few hosts need this

    record = read_record(place)
    if not shared and not (record and record.deployed.sharing):
        return None
    pinned = info.read_pin(lib, place.program, "prog", info.program_info)
    ids = {pinned.id if pinned else 0, *((record.program_id, record.before) if record else ())}
    found = _of(ids, ifindex, here)
    if not found and record and record.deployed.sharing:
        from .hooks import Links, hooks

        for index, attributes in rtnetlink.dump():
            if index != ifindex and rtnetlink.programs(attributes):
                found = found or _of(ids, index, hooks(lib, rtnetlink.interface(index), Links(lib)))
        return found and found._replace(mode=None)
    return found


def _of(ids: t.Container[int], ifindex: int, here: t.Iterable[Hook]) -> t.Optional[Attachment]:
    for hook in here:
        slot = hook.dispatcher.slot_of(ids) if hook.dispatcher else None
        if slot is not None:
            number, there = hook.components[slot].program.id, hook.dispatcher
            return Attachment("dispatcher", hook.program.id, number, ifindex, hook.mode, slot=slot, dispatcher=there)
    return None


def runs_here(link: info.LinkInfo) -> bool:
    """Whether a link's interface is in this network namespace: its index alone could be that of a different one."""
    interface = rtnetlink.interface(link.ifindex) if link.ifindex else None
    return interface is not None and link.program_id in interface.xdp.values()

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways by which a program gets onto an interface: a file each, in one table.

Each pins a BPF link as the `link` of its place. A new way is a file with the functions of Way (way.py), named here. It
makes its changes through Work, with an undo for each one, so that they can be rolled back, and held provisionally.
"""

from __future__ import annotations

import typing as t

from ..libbpf import info
from .hooks import Attachment, Hook

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..state.places import Place
    from .way import Way

NAMES = ("link",)


def way(name: str) -> Way:
    """By its name, which is that of its file."""
    from . import link  # here: a target compiles what it imports, and who only looks at interfaces needs none of it

    return {"link": link}[name]


def observe(lib: Libbpf, place: Place, ifindex: int, here: t.Iterable[Hook]) -> t.Optional[Attachment]:
    """Our attachment at a place, alive or dead; `here` is what is on its interface."""
    link = info.read_pin(lib, place.link, "link", info.link_info)
    if not link:
        return None
    mode = None
    if link.ifindex == ifindex:
        mode = next((hook.mode for hook in here if hook.program.id == link.program_id), None)
    return Attachment("link", link.id, link.program_id, link.ifindex, mode)


def lost(program_id: int, here: t.Sequence[Hook]) -> t.Optional[t.Tuple[str, Hook]]:
    """Our program on an interface, if its pin is lost: by which way it is attached, and where."""
    for name in NAMES:
        found = way(name).lost(program_id, here)
        if found:
            return name, found
    return None

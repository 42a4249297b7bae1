# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every program in the kernel: what it is, where it is attached, and under which paths it is pinned."""

from __future__ import annotations

import contextlib
import os
import typing as t

from . import mounts, rtnetlink
from .libbpf import BpfError, Libbpf, LinkInfo, ProgramInfo
from .observe import Links, all_interfaces, hooks

Pins = t.Dict[t.Tuple[str, int], t.List[str]]  # paths by kind ('prog', 'link') and id


class Attachment(t.NamedTuple):
    """Where a program is attached. `by` is 'link' or 'netlink'; `link_type` is that of the link.

    interface and mode are those of XDP; None where the interface is not in this network namespace.
    """

    by: str
    link_id: t.Optional[int]
    link_type: t.Optional[str]
    interface: t.Optional[str]
    ifindex: t.Optional[int]
    mode: t.Optional[str]
    pins: t.List[str]


class Surroundings(t.NamedTuple):
    """What programs are attached to, by the program's id, and what is pinned."""

    attachments: t.Dict[int, t.List[Attachment]]
    pins: Pins


def surroundings(lib: Libbpf) -> Surroundings:
    """Links of all kinds, and XDP by netlink on the interfaces of this network namespace.

    Not what the kernel does not tell by program: filters of tc by netlink, and cgroups without a link.
    """
    pinned = pins_of_kernel(lib)
    links = Links(lib)
    found: t.Dict[int, t.List[Attachment]] = {}
    seen = set()
    for name, index in all_interfaces().items():
        with contextlib.suppress(BpfError):  # it went away meanwhile
            for hook in hooks(lib, rtnetlink.interface(index), links):
                attachment = Attachment("netlink", None, None, name, index, hook.mode, [])
                for link in hook.link_ids:
                    seen.add(link)
                    by_link = attachment._replace(
                        by="link", link_id=link, link_type="xdp", pins=pinned.get(("link", link), [])
                    )
                    found.setdefault(hook.program.id, []).append(by_link)
                if not hook.link_ids:
                    found.setdefault(hook.program.id, []).append(attachment)
    for each in links.every():
        if each.id not in seen and each.program_id:
            found.setdefault(each.program_id, []).append(_elsewhere(each, pinned))
    return Surroundings(found, pinned)


def _elsewhere(link: LinkInfo, pinned: Pins) -> Attachment:
    """A link that is not XDP's, or that of an interface which is gone or in another network namespace."""
    index = link.ifindex if link.type == "xdp" else None
    return Attachment("link", link.id, link.type, None, index, None, pinned.get(("link", link.id), []))


def pins_of_kernel(lib: Libbpf) -> Pins:
    """All pins of programs and links, in every bpffs that this mount namespace has."""
    found: Pins = {}
    for mount in sorted({point for point, kind in mounts.mounts() if kind == "bpf"}):
        for folder, _folders, files in os.walk(mount):
            for name in files:
                pin = what_is_pinned(lib, os.path.join(folder, name))
                if pin:
                    found.setdefault(pin, []).append(os.path.join(folder, name))
    return found


def what_is_pinned(lib: Libbpf, path: str) -> t.Optional[t.Tuple[str, int]]:
    """Kind ('prog' or 'link') and id; None if it is neither, or nothing that may be opened."""
    try:
        with lib.get(path) as fd:
            kind = lib.kind(fd)
            if kind == "prog":
                return kind, lib.program_info(fd).id
            if kind == "link":
                return kind, lib.link_info(fd).id
    except BpfError:
        pass
    return None


def full_name(lib: Libbpf, fd: int, program: ProgramInfo) -> str:
    """The kernel keeps 15 characters of a name; the program's own type information has the whole."""
    if len(program.name) < 15 or not program.btf_id:
        return program.name
    from .btf import read_btf  # here: a target compiles what it imports, and few names are that long
    from .libbpf.code import program_code

    code = program_code(lib, fd)
    btf = read_btf(code.btf)
    whole = btf.function(code.functions[0].type_id) if btf and code.functions else ""
    return whole if whole.startswith(program.name) else program.name

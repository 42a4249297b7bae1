# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host has: kernel settings, capabilities, tools, and interfaces with the programs on them."""

from __future__ import annotations

import re
import typing as t

from ..attach.exactness import fixed
from ..attach.hooks import Hook, Links, hooks
from ..attach.interfaces import all_interfaces, printable
from ..attach.owners import deployed_programs, pinned_links
from ..kernel import ethtool, mounts, rtnetlink
from ..kernel.remedies import read_text
from ..libbpf.library import BpfError, Libbpf
from ..objects.toolchain import Run, which
from ..state.places import BPFFS, Place, pinned_names, places_of

if t.TYPE_CHECKING:
    from ..sharing.dispatcher import Dispatcher

# linux/capability.h, those that loading, attaching, pinning and tracing may need
CAPABILITIES = {"cap_net_admin": 12, "cap_sys_admin": 21, "cap_sys_resource": 24, "cap_perfmon": 38, "cap_bpf": 39}


def capabilities() -> t.List[str]:
    """The effective ones of CAPABILITIES."""
    found = re.search(r"CapEff:\s*([0-9a-f]+)", read_text("/proc/self/status"))
    bits = int(found.group(1), 16) if found else 0
    return [name for name, bit in sorted(CAPABILITIES.items()) if bits >> bit & 1]


def mounted(kind: str) -> t.Optional[str]:
    """Where a file system of this type is mounted, the usual place first."""
    usual = {"bpf": BPFFS, "tracefs": "/sys/kernel/tracing"}[kind]
    points = [each.point for each in mounts.mounts(kind=kind)]
    return usual if usual in points else printable(points[0]) if points else None


def tool_version(run: Run, name: str, argument: str) -> t.Optional[str]:
    """The version that a tool reports; None if it is not installed."""
    path = which(name) or which(f"/usr/sbin/{name}")
    if not path:
        return None
    code, out, err = run([path, argument])
    found = re.search(r"\d+\.\d[\w.]*", out or err)
    return found.group() if found and not code else None


def interfaces(lib: t.Optional[Libbpf], roots: t.Iterable[str]) -> t.Dict[str, t.Any]:
    """All interfaces of this network namespace, with their XDP programs and the owners of those."""
    links: t.Optional[Links] = None
    ours: t.Dict[int, Place] = {}
    where: t.List[Place] = []
    if lib:
        links = Links(lib)
        try:
            where = [place for root in roots for name in pinned_names(root) for place in places_of(root, name)]
            ours = pinned_links(lib, where)
            links.every()
        except BpfError:  # no permission to read them: report no programs
            links = None
    found = {}
    for name, ifindex in all_interfaces().items():
        interface = rtnetlink.interface(ifindex)
        if not interface:  # it disappeared meanwhile
            continue
        programs = None
        if lib and links:
            programs = [
                {
                    "mode": hook.mode,
                    "program_id": hook.program.id,
                    "name": hook.program.name,
                    "tag": hook.program.tag,
                    "link_id": hook.link_id,
                    **_owner(hook, ours),
                    **(_shared(hook, deployed_programs(lib, where)) if hook.dispatcher else {}),
                }
                for hook in hooks(lib, interface, links)
            ]
        found[printable(name)] = {
            "ifindex": ifindex,
            "driver": ethtool.driver(name),
            "mtu": interface.mtu,
            "queues": ethtool.queues(name),
            "xdp": programs,
        }
    return found


def fixed_joining() -> t.Dict[str, t.List[str]]:
    """By interface: what puts frames together there and cannot be turned off."""
    found = {printable(name): fixed(name) for name in all_interfaces()}
    return {name: features for name, features in found.items() if features}


def unusable_names() -> t.Dict[str, int]:
    """The indexes of the interfaces whose names cannot be used, by name."""
    return {printable(name): index for name, index in all_interfaces().items() if printable(name) != name}


def _owner(hook: Hook, ours: t.Mapping[int, Place]) -> t.Dict[str, t.Optional[str]]:
    place = hook.pinned_by(ours)
    return {"owner": "ebpf.fleet" if place else "another", "pin_path": place.folder if place else None}


def _shared(hook: Hook, ours: t.Mapping[int, Place]) -> t.Dict[str, t.Any]:
    """What is in a dispatcher. Its own owner is who made it, which nobody can tell: it is ours if all in it is."""
    components = []
    for number, each in enumerate(hook.components):
        place = ours.get(each.program.id)
        owner = {"owner": "ebpf.fleet" if place else "another", "pin_path": place.folder if place else None}
        components.append({**each.data(number), **owner})
    there = t.cast("Dispatcher", hook.dispatcher)
    mine = bool(components) and all(each["owner"] == "ebpf.fleet" for each in components)
    dispatcher = {"version": there.version or None, "components": components, "trouble": there.trouble or None}
    return {"owner": "ebpf.fleet" if mine else "another", "dispatcher": dispatcher}

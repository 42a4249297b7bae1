# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host can do, found by asking its kernel and not by the kernel's version."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
import typing as t

from . import mounts, nic, pins, rtnetlink
from .libbpf import BpfError, Fd, Libbpf, links, testing
from .observe import PLAIN_MTU, Hook, Links, all_interfaces, hooks, pinned_links
from .toolchain import ELSEWHERE, Run, which

# linux/capability.h, those that loading, attaching, pinning and tracing may ask for
CAPABILITIES = {"cap_net_admin": 12, "cap_sys_admin": 21, "cap_sys_resource": 24, "cap_perfmon": 38, "cap_bpf": 39}

CLONE_NEWNET = 0x40000000
LOOPBACK = 1


def _return(action: int) -> bytes:
    """An XDP program that does nothing but return this action: r0 = action; exit."""
    return struct.pack("=BBhi", 0xB7, 0, 0, action) + struct.pack("=BBhi", 0x95, 0, 0, 0)


XDP_DROP, XDP_PASS = _return(1), _return(2)


def read_text(path: str) -> t.Optional[str]:
    with contextlib.suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as file:
        return file.read().strip()
    return None


def jit() -> t.Dict[str, t.Optional[int]]:
    """bpf_jit_enable (0 off, 1 on, 2 debug) and bpf_jit_harden (0 off, 1 unprivileged, 2 all).

    null in a network namespace, where these are out of sight.
    """
    values = {name: read_text(f"/proc/sys/net/core/bpf_jit_{name}") for name in ("enable", "harden")}
    return {name: int(value) if value else None for name, value in values.items()}


def lockdown() -> t.Optional[str]:
    """none, integrity or confidentiality; None where the kernel has no lockdown. kernel_lockdown(7)"""
    found = re.search(r"\[(\w+)\]", read_text("/sys/kernel/security/lockdown") or "")
    return found.group(1) if found else None


def capabilities() -> t.List[str]:
    """Those in effect, of the ones that matter here."""
    found = re.search(r"CapEff:\s*([0-9a-f]+)", read_text("/proc/self/status") or "")
    bits = int(found.group(1), 16) if found else 0
    return [name for name, bit in sorted(CAPABILITIES.items()) if bits >> bit & 1]


def mounted(kind: str) -> t.Optional[str]:
    """Where a file system of this type is mounted, the usual place first."""
    usual = {"bpf": pins.BPFFS, "tracefs": "/sys/kernel/tracing"}[kind]
    points = [point for point, each in mounts.mounts() if each == kind]
    return usual if usual in points else points[0] if points else None


def tool_version(run: Run, name: str, argument: str) -> t.Optional[str]:
    """What a tool says its version is, None where it is not installed."""
    path = which(name) or which(f"/usr/sbin/{name}")
    if not path:
        return None
    code, out, err = run([path, argument])
    found = re.search(r"\d+\.\d[\w.]*", out or err)
    return found.group() if found and not code else None


def features(lib: t.Optional[Libbpf]) -> t.Dict[str, t.Optional[bool]]:
    """What the kernel agrees to when it is asked; null where it is not (lib is None) or will not load the question."""
    events = f"{mounted('tracefs')}/events"
    found: t.Dict[str, t.Optional[bool]] = {
        "xdp_link": None,
        "frags": None,
        "live_frames": None,
        "trace_event": os.path.isdir(f"{events}/bpf_trace") if os.path.isdir(events) else None,
    }
    if not lib:
        return found
    with contextlib.suppress(BpfError), testing.load_instructions(lib, XDP_PASS) as passes:
        found["xdp_link"] = _in_new_namespace(lambda: links.create(lib, passes, LOOPBACK, "generic"))
        found["frags"] = _agrees(lambda: testing.load_instructions(lib, XDP_PASS, testing.BPF_F_XDP_HAS_FRAGS))
        with testing.load_instructions(lib, XDP_DROP) as drops:
            live = testing.BPF_F_TEST_XDP_LIVE_FRAMES
            found["live_frames"] = _agrees(lambda: testing.test_run(lib, drops, bytes(64), 1, live, 1))
    return found


def _agrees(ask: t.Callable[[], t.Any]) -> bool:
    try:
        answer = ask()
    except BpfError:
        return False
    if isinstance(answer, Fd):
        with answer:
            pass
    return True


def _in_new_namespace(ask: t.Callable[[], t.Any]) -> t.Optional[bool]:
    """Ask in a child with a network namespace of its own, so that no interface of the host is touched."""
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            if not ctypes.CDLL(None).unshare(CLONE_NEWNET):
                answer = 0 if _agrees(ask) else 1
        finally:
            os._exit(answer)
    status = os.waitpid(child, 0)[1]
    return {0: True, 1: False}.get(os.WEXITSTATUS(status))


def interfaces(lib: t.Optional[Libbpf], root: str) -> t.Dict[str, t.Any]:
    """All interfaces of this network namespace, with the XDP programs in place and whose they are."""
    links: t.Optional[Links] = None
    ours: t.Dict[int, pins.Place] = {}
    if lib:
        links = Links(lib)
        try:
            ours = pinned_links(lib, [place for name in pins.names(root) for place in pins.places(root, name)])
            links.every()
        except BpfError:  # who may not look is told of no programs
            links = None
    found = {}
    for name, ifindex in all_interfaces().items():
        interface = rtnetlink.interface(ifindex)
        if not interface:  # it went away meanwhile
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
                }
                for hook in hooks(lib, interface, links)
            ]
        found[name] = {
            "ifindex": ifindex,
            "driver": nic.driver(name),
            "mtu": interface.mtu,
            "queues": nic.queues(name),
            "xdp": programs,
        }
    return found


def _owner(hook: Hook, ours: t.Mapping[int, pins.Place]) -> t.Dict[str, t.Optional[str]]:
    place = hook.pinned_by(ours)
    return {"owner": "ebpf.fleet" if place else "another", "pin_path": place.folder if place else None}


def problems(facts: t.Mapping[str, t.Any], libbpf_error: t.Optional[str]) -> t.List[str]:
    """What stands in the way, each with its remedy, the gravest first. Pure."""
    can = facts["features"]
    found = []
    missing = [name for name in ("cap_bpf", "cap_net_admin", "cap_sys_admin") if name not in facts["capabilities"]]
    if missing:
        found.append(
            f"This ran without {', '.join(missing)}: no program can be loaded or attached."
            f" Run as root (become: true), in a container with --privileged."
        )
    if libbpf_error:
        found.append(libbpf_error)
    if can["xdp_link"] is False:
        found.append(
            "The kernel has no BPF link for XDP (it came with 5.9): xdp_program cannot attach. Take a newer kernel."
        )
    if facts["lockdown"] == "confidentiality":
        found.append(
            "The kernel is locked down for confidentiality: it may refuse bpf_printk, and trace lines do not come."
            " Boot with lockdown=integrity to have them."
        )
    if facts["jit"]["enable"] == 0:
        found.append("BPF programs are interpreted, which is slow. Set the sysctl net.core.bpf_jit_enable to 1.")
    if not facts["clang"]:
        found.append(
            f"There is no clang: bpf_object cannot compile on this host. Install the package clang, {ELSEWHERE}."
        )
    for name, interface in facts["interfaces"].items():
        for program in interface["xdp"] or ():
            if program["owner"] != "ebpf.fleet":
                found.append(
                    f"{name} carries XDP program {program['program_id']} '{program['name']}' (tag {program['tag']}),"
                    f" which is not ours. Leave {name} out, or set on_conflict: replace to take its place."
                )
        if interface["driver"] and interface["mtu"] > PLAIN_MTU and can["frags"] is False:
            found.append(
                f"{name} has an MTU of {interface['mtu']}, and the kernel knows no packets of several buffers"
                f" (they came with 5.18): native mode may be refused. Lower the MTU, or set mode: generic."
            )
    return found

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What prevents XDP programs on a host, as sentences with their remedies."""

from __future__ import annotations

import typing as t

from ..attach.exactness import IN_THE_HYPERVISOR
from ..objects.toolchain import ELSEWHERE

PLAIN_MTU = 1500
FRAGS_LIBBPF = (0, 8)


def problems(
    facts: t.Mapping[str, t.Any],
    libbpf_error: t.Optional[str],
    refusal: t.Optional[str] = None,
    bpffs_trouble: t.Optional[str] = None,
) -> t.List[str]:
    """The problems, each with its remedy, the worst first. Pure.

    refusal: the sentence about it, if the kernel refuses bpf(). bpffs_trouble: one about bpffs.
    """
    can = facts["features"]
    found = []
    libbpf = facts["libbpf"]
    missing = [name for name in ("cap_bpf", "cap_net_admin", "cap_sys_admin") if name not in facts["capabilities"]]
    if missing:
        found.append(
            f"This ran without {', '.join(missing)}: no program can be loaded or attached."
            f" Run as root (become: true; in a container, --privileged)."
        )
    elif refusal:
        found.append(f"No program can be loaded or attached: {refusal}.")
    if libbpf_error:
        found.append(libbpf_error)
    if bpffs_trouble:
        found.append(f"{bpffs_trouble[0].upper()}{bpffs_trouble[1:]}.")
    if can["xdp_link"] is False:
        found.append(
            "The kernel does not support BPF links for XDP (added in 5.9): xdp_program cannot attach."
            " Use a newer kernel."
        )
    if facts["lockdown"] == "confidentiality":
        found.append(
            "The kernel is locked down for confidentiality: this hides tracefs, so trace_seconds cannot be used,"
            " and programs that read the kernel's memory (bpf_probe_read_kernel) are rejected. Boot with"
            " lockdown=integrity to have both."
        )
    if not facts["btf"]:
        found.append(
            "The kernel has no BTF (/sys/kernel/btf/vmlinux): objects with CO-RE relocations, or with functions or"
            " variables of the kernel, cannot be loaded, and others can. Use a kernel with CONFIG_DEBUG_INFO_BTF."
        )
    if not facts["jit"]["available"]:
        found.append(
            "The kernel has no JIT compiler for BPF: it interprets programs, which is slow, and they have no native"
            " code to show. Use a kernel with CONFIG_BPF_JIT."
        )
    if facts["jit"]["enable"] == 0:
        found.append(
            "The kernel interprets BPF programs, which is slow, and they have no native code to show. Set the sysctl"
            " net.core.bpf_jit_enable to 1, for programs that are loaded afterwards."
        )
    if not facts["clang"]:
        found.append(
            f"There is no clang: bpf_object cannot compile on this host. Install the package clang, {ELSEWHERE}."
        )
    for name, interface in facts["interfaces"].items():
        for program in interface["xdp"] or ():
            if program["owner"] != "ebpf.fleet":
                found.append(
                    f"{name} runs XDP program {program['program_id']} '{program['name']}' (tag {program['tag']}),"
                    f" which this collection did not attach. Leave {name} out, or set on_conflict: replace to take"
                    f" its place."
                )
        if interface["driver"] and interface["mtu"] > PLAIN_MTU:
            lacks = "the kernel does not support packets of several buffers (added in 5.18)"
            if can["frags"] and libbpf and _version(libbpf) < FRAGS_LIBBPF:
                lacks = f"libbpf {libbpf} cannot load programs for packets of several buffers (added in 0.8)"
            elif can["frags"] is not False:
                continue
            found.append(
                f"{name} has an MTU of {interface['mtu']}, but {lacks}: it may reject native mode. Lower the MTU,"
                f" or set mode: generic."
            )
    return found


def problems_of_joining(fixed: t.Mapping[str, t.Sequence[str]], panics: bool) -> t.List[str]:
    """`fixed`: what puts frames together and cannot be turned off, by interface. `panics`: a WARNING stops the host.

    Pure.
    """
    return [
        f"{name} gets packets that are put together from several frames ({', '.join(features)}), and its driver cannot"
        f" turn that off: it may reject native mode, and counts in generic mode are not exact. "
        + (
            "Attaching in generic mode would make the kernel panic, as the sysctl kernel.panic_on_warn is set and it"
            " writes a WARNING then, so xdp_program refuses."
            if panics
            else "Attaching in generic mode makes the kernel write a WARNING to its log."
        )
        + f" {IN_THE_HYPERVISOR[0].upper()}{IN_THE_HYPERVISOR[1:]}."
        for name, features in fixed.items()
    ]


def _version(text: str) -> t.Tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())

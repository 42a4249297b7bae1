# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of XDP programs on a host, as sentences with their remedies."""

from __future__ import annotations

import typing as t

from ..objects.toolchain import ELSEWHERE

PLAIN_MTU = 1500


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

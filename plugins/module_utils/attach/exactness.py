# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a program sees each frame as it was on the wire, or packets that were put together from several frames.

Attaching in generic mode turns off what puts frames together before the kernel gets them. Where the driver cannot, as
virtio_net without VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, the kernel writes a WARNING to its log (dev_disable_gro_hw() and
dev_disable_lro() in net/core/dev.c), which with kernel.panic_on_warn is a panic.
"""

from __future__ import annotations

import typing as t

from ..kernel.stacking import RECEIVE_FROM_BELOW, Stacking, stacking

JOINING = ("rx-gro-hw", "rx-lro")  # offloads that put frames together
IN_THE_HYPERVISOR = "turn it off in the hypervisor (qemu: guest_tso4=off,guest_tso6=off, or ctrl_guest_offloads=on)"


def inexact_because(interface: str, ifindex: int, mode: t.Optional[str]) -> t.Optional[str]:
    """Why a program in this mode does not see each frame, and what to do; None if it does."""
    try:
        found = stacking(ifindex)
    except OSError:  # it disappeared meanwhile
        return None
    return reason(interface, mode, found, _joining(interface) if mode == "generic" and not found.kind else {})


def _joining(interface: str) -> t.Dict[str, bool]:
    """Those of JOINING that are on, and whether each can be turned off."""
    from ..kernel.ethtool import features_on  # here: a target compiles what it imports, and rarely needs this

    return {name: changeable for name, changeable in features_on(interface).items() if name in JOINING}


def fixed(interface: str) -> t.List[str]:
    """Those of JOINING that are on, and that the driver cannot turn off: attaching in generic mode makes a WARNING."""
    return [name for name, changeable in _joining(interface).items() if not changeable]


def panics(interface: str) -> t.Optional[str]:
    """Why attaching to it in generic mode would make the kernel panic, and what to do; None if it would not."""
    from ..kernel.remedies import panics_on_warn

    found = fixed(interface) if panics_on_warn() else []
    if not found:
        return None
    return (
        f"the driver of {interface} cannot turn off {' and '.join(found)}, so attaching in generic mode makes the"
        f" kernel write a WARNING, and with the sysctl kernel.panic_on_warn=1 it then panics; {IN_THE_HYPERVISOR},"
        f" or set kernel.panic_on_warn to 0 for as long as this takes"
    )


def reason(
    interface: str, mode: t.Optional[str], found: Stacking, joining: t.Optional[t.Mapping[str, bool]] = None
) -> t.Optional[str]:
    """Pure. `joining`: those of JOINING that are on, and whether each can be turned off.

    In generic mode the kernel does not join frames (GRO) on the interface that has the program, but it does on the
    ones below it. In native mode it never does.
    """
    if found.kind == "tun":
        return "a tun or tap hands over TCP segments of up to 64 kB, as its other side sent them, in each mode"
    if mode != "generic":
        return None
    if found.kind in ("veth", "netkit"):  # as the other end sent them; a netkit has no native mode
        words = f"in generic mode on a {found.kind}, TCP segments of up to 64 kB are one packet"
        return words + ("; mode: native splits them" if found.kind == "veth" else "")
    if found.kind == "loopback":
        return "packets on the loopback interface are not cut into frames"
    if found.kind in RECEIVE_FROM_BELOW:
        words = (
            f"in generic mode on an interface of kind {found.kind}, the kernel shows a program the packets that it has"
            f" put together from several frames on the interface below (GRO)"
        )
        return words + (f"; count on {' and '.join(found.below)} instead" if found.below else "")
    if joining:
        can = [name for name, changeable in joining.items() if changeable]
        return (
            f"in generic mode, {' and '.join(joining)} of {interface} puts several frames together before the kernel"
            " gets them; "
            + (
                f"turn it off with `ethtool -K {interface} {' off '.join(can)} off`"
                if len(can) == len(joining)
                else f"its driver cannot turn that off (which the kernel's log has as a WARNING): {IN_THE_HYPERVISOR}"
            )
        )
    return None

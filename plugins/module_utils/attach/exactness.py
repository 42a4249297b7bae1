# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a program sees each frame as it was on the wire, or packets that were put together from several frames."""

from __future__ import annotations

import typing as t

from ..kernel.stacking import RECEIVE_FROM_BELOW, Stacking, stacking

JOINING = ("rx-gro-hw", "rx-lro")  # offloads that put frames together; attaching turns them off where that is possible


def inexact_because(interface: str, ifindex: int, mode: t.Optional[str]) -> t.Optional[str]:
    """Why a program in this mode does not see each frame, and what to do; None if it does."""
    try:
        found = stacking(ifindex)
    except OSError:  # it disappeared meanwhile
        return None
    joining: t.Tuple[str, ...] = ()
    if mode == "generic" and not found.kind:
        from ..kernel.ethtool import features_on  # here: a target compiles what it imports, and rarely needs this

        joining = tuple(each for each in JOINING if each in features_on(interface))
    return reason(interface, mode, found, joining)


def reason(interface: str, mode: t.Optional[str], found: Stacking, joining: t.Sequence[str] = ()) -> t.Optional[str]:
    """Pure. `joining`: those of JOINING that are on.

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
        return (
            f"in generic mode, {' and '.join(joining)} of {interface} puts several frames together before the kernel"
            f" gets them; turn it off with `ethtool -K {interface} {' off '.join(joining)} off`, or, where"
            f" `ethtool -k` shows it as fixed, in the hypervisor"
        )
    return None

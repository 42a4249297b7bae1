# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind of an interface, and the interfaces below it. rtnetlink(7), include/uapi/linux/if_link.h"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import socket
import struct
import typing as t

from . import rtnetlink
from .rtnetlink import attributes, number

_IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = 5, 10, 18, 37
_IFLA_INFO_KIND = 1
_ARPHRD_LOOPBACK = 772
_MASTERS = ("bond", "bridge", "team")


class Stacking(t.NamedTuple):
    """`kind`: "vlan", "macvlan", "bond", "veth" and so on, as `ip -d link` shows it; "loopback"; "" for a NIC.

    `below` are names, of interfaces in this network namespace.
    """

    kind: str
    below: t.Tuple[str, ...] = ()


def stacking(ifindex: int) -> Stacking:
    """Raises OSError if the interface does not exist."""
    answer = rtnetlink.ask(ifindex)
    device_type = struct.unpack_from("=BxH", answer)[1]
    found = attributes(answer[rtnetlink.LINK.size :])
    kind = attributes(found.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
    below: t.List[int] = []
    if kind in _MASTERS:
        below = _members(ifindex)
    elif kind != "veth" and _IFLA_LINK in found and _IFLA_LINK_NETNSID not in found:  # a veth's is its peer
        below = [number(found[_IFLA_LINK])]
    names = dict(socket.if_nameindex()) if below else {}
    return Stacking(
        kind or ("loopback" if device_type == _ARPHRD_LOOPBACK else ""),
        tuple(names[each] for each in below if each in names),
    )


def _members(ifindex: int) -> t.List[int]:
    """The interfaces whose master it is."""
    master = struct.pack("=HHI", 8, _IFLA_MASTER, ifindex)
    return [
        each
        for each, found in rtnetlink.dump(master)
        if number(found.get(_IFLA_MASTER, bytes(4))) == ifindex  # should the kernel not filter
    ]

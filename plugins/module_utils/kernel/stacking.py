# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of interfaces, and which are above which. rtnetlink(7), include/uapi/linux/if_link.h"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import os
import socket
import struct
import typing as t

from . import rtnetlink
from .rtnetlink import attributes, number

_IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = 3, 5, 10, 18, 37
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_ARPHRD_LOOPBACK = 772
# Kinds for which IFLA_LINK is the interface below. For others, such as veth and tunnels, it is only related.
_STANDS_ON_LINK = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "rmnet", "dsa"}
_STANDS_ON_DATA = {"vxlan": (3,), "hsr": (1, 2)}  # IFLA_VXLAN_LINK; IFLA_HSR_SLAVE1, IFLA_HSR_SLAVE2
_MASTERS = {"bond", "bridge", "team"}
_TUNNELS = {"geneve", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan", "ipip", "sit", "ip6tnl"}
# Kinds whose packets another interface has received before. It is that of the route for tunnels, so not in `below`.
RECEIVE_FROM_BELOW = frozenset(_STANDS_ON_LINK | set(_STANDS_ON_DATA) | _MASTERS | _TUNNELS)


class Stacking(t.NamedTuple):
    """`kind`: "vlan", "macvlan", "bond", "veth" and so on, as `ip -d link` shows it; "loopback"; "" for a NIC.

    `below` are names, of interfaces in this network namespace.
    """

    kind: str
    below: t.Tuple[str, ...] = ()


class Device(t.NamedTuple):
    """An interface among all others. `kind` is "" for hardware, else veth, vlan, bond and so on.

    `stands_on`: indexes of the interfaces below it; `master`: of the bond, bridge and so on that it belongs to, else 0.
    """

    ifindex: int
    name: str
    kind: str
    stands_on: t.Tuple[int, ...]
    master: int
    xdp: t.Dict[str, int]


def devices() -> t.List[Device]:
    """All interfaces of this network namespace; one below or above that is in a different namespace is missing."""
    return [_device(ifindex, found) for ifindex, found in rtnetlink.dump()]


def _device(ifindex: int, found: t.Mapping[int, bytes]) -> Device:
    information = attributes(found.get(_IFLA_LINKINFO, b""))
    kind = _text(information.get(_IFLA_INFO_KIND, b""))
    data = attributes(information.get(_IFLA_INFO_DATA, b"")) if kind in _STANDS_ON_DATA else {}
    below = [data.get(each) for each in _STANDS_ON_DATA.get(kind, ())]
    if kind in _STANDS_ON_LINK:
        below.append(found.get(_IFLA_LINK))
    return Device(
        ifindex,
        _text(found.get(_IFLA_IFNAME, b"")),
        kind,
        () if _IFLA_LINK_NETNSID in found else tuple(number(value) for value in below if value),
        number(found.get(_IFLA_MASTER, bytes(4))),
        rtnetlink.programs(found),
    )


def _text(value: bytes) -> str:
    return os.fsdecode(value.split(b"\0")[0])


def stacking(ifindex: int) -> Stacking:
    """Raises OSError if the interface does not exist."""
    answer = rtnetlink.ask(ifindex)
    device_type = struct.unpack_from("=BxH", answer)[1]
    device = _device(ifindex, attributes(answer[rtnetlink.LINK.size :]))
    below = _members(ifindex) if device.kind in _MASTERS else device.stands_on
    return Stacking(
        device.kind or ("loopback" if device_type == _ARPHRD_LOOPBACK else ""),
        tuple(filter(None, map(_name, below))),
    )


def _name(ifindex: int) -> str:
    with contextlib.suppress(OSError):  # it has disappeared
        return socket.if_indextoname(ifindex)
    return ""


def _members(ifindex: int) -> t.List[int]:
    """The interfaces whose master it is."""
    master = struct.pack("=HHI", 8, _IFLA_MASTER, ifindex)
    return [
        each
        for each, found in rtnetlink.dump(master)
        if number(found.get(_IFLA_MASTER, bytes(4))) == ifindex  # should the kernel not filter
    ]

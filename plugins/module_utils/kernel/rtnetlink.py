# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's information on network interfaces. rtnetlink(7), include/uapi/linux/if_link.h

libbpf's bpf_xdp_query() makes the kernel list all interfaces each time: seconds, on a router with thousands.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import errno
import os
import socket
import struct
import typing as t

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, device type, index, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_RTM_GETLINK, _NLM_F_REQUEST, _NLM_F_DUMP, _NLMSG_ERROR, _NLMSG_DONE = 18, 1, 0x300, 2, 3
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 3, 4, 5, 10, 18
_IFLA_EXT_MASK, _IFLA_LINK_NETNSID, _IFLA_XDP = 29, 37, 43
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_IFLA_XDP_PROG_IDS = {5: "native", 6: "generic", 7: "offload"}

# Kinds for which IFLA_LINK is the interface below. For others, such as veth and tunnels, it is only related.
_STANDS_ON_LINK = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "rmnet", "dsa"}
_STANDS_ON_DATA = {"vxlan": (3,), "hsr": (1, 2)}  # IFLA_VXLAN_LINK; IFLA_HSR_SLAVE1, IFLA_HSR_SLAVE2


class Interface(t.NamedTuple):
    """MTU in bytes, and program ids by mode: 'native', 'generic', 'offload'."""

    ifindex: int
    mtu: int
    xdp: t.Dict[str, int]


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


def interface(ifindex: int) -> t.Optional[Interface]:
    """None if this network namespace has no interface with that index. Raises OSError."""
    with _asked(ifindex) as route:
        answer = route.recv(1 << 16)
    if _MESSAGE.unpack_from(answer)[1] == _NLMSG_ERROR:
        error = _error(answer)
        if error.errno == errno.ENODEV:
            return None
        raise error
    attributes = _attributes(answer[_MESSAGE.size + _LINK.size :])
    return Interface(ifindex, _number(attributes.get(_IFLA_MTU, bytes(4))), _xdp(attributes))


def devices() -> t.List[Device]:
    """All interfaces of this network namespace; one below or above that is in a different namespace is missing."""
    found: t.List[Device] = []
    with _asked(0, _NLM_F_DUMP) as route:
        while True:
            answer = route.recv(1 << 16)
            while answer:
                length, kind = _MESSAGE.unpack_from(answer)[:2]
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    raise _error(answer)
                ifindex = _LINK.unpack_from(answer, _MESSAGE.size)[2]
                found.append(_device(ifindex, _attributes(answer[_MESSAGE.size + _LINK.size : length])))
                answer = answer[length + 3 & ~3 :]


def _device(ifindex: int, attributes: t.Mapping[int, bytes]) -> Device:
    information = _attributes(attributes.get(_IFLA_LINKINFO, b""))
    kind = _text(information.get(_IFLA_INFO_KIND, b""))
    data = _attributes(information.get(_IFLA_INFO_DATA, b"")) if kind in _STANDS_ON_DATA else {}
    below = [data.get(number) for number in _STANDS_ON_DATA.get(kind, ())]
    if kind in _STANDS_ON_LINK:
        below.append(attributes.get(_IFLA_LINK))
    return Device(
        ifindex,
        _text(attributes.get(_IFLA_IFNAME, b"")),
        kind,
        () if _IFLA_LINK_NETNSID in attributes else tuple(_number(value) for value in below if value),
        _number(attributes.get(_IFLA_MASTER, bytes(4))),
        _xdp(attributes),
    )


def _asked(ifindex: int, flags: int = 0) -> socket.socket:
    request = _LINK.pack(0, 0, ifindex, 0, 0) + struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATISTICS)
    message = _MESSAGE.pack(_MESSAGE.size + len(request), _RTM_GETLINK, _NLM_F_REQUEST | flags, 0, 0)
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
    route.send(message + request)
    return route


def _error(answer: bytes) -> OSError:
    number = -struct.unpack_from("=i", answer, _MESSAGE.size)[0]
    return OSError(number, os.strerror(number))


def _xdp(attributes: t.Mapping[int, bytes]) -> t.Dict[str, int]:
    programs = _attributes(attributes.get(_IFLA_XDP, b""))
    return {mode: _number(programs[kind]) for kind, mode in _IFLA_XDP_PROG_IDS.items() if kind in programs}


def _text(value: bytes) -> str:
    return os.fsdecode(value.split(b"\0")[0])


def _attributes(text: bytes) -> t.Dict[int, bytes]:
    """By type; each begins at a multiple of 4 bytes."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(text):
        length, kind = _ATTRIBUTE.unpack_from(text, at)
        found[kind & 0x3FFF] = text[at + _ATTRIBUTE.size : at + length]  # the upper two bits are flags
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    return found


def _number(value: bytes) -> int:
    return t.cast(int, struct.unpack("=I", value)[0])

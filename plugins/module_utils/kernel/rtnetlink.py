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
LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, device type, index, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_RTM_GETLINK, _NLM_F_REQUEST, _NLM_F_DUMP, _NLMSG_ERROR, _NLMSG_DONE = 18, 1, 0x300, 2, 3
_IFLA_MTU, _IFLA_EXT_MASK, _IFLA_XDP, _IFLA_ALT_IFNAME = 4, 29, 43, 53
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_IFLA_XDP_PROG_IDS = {5: "native", 6: "generic", 7: "offload"}


class Interface(t.NamedTuple):
    """MTU in bytes, and program ids by mode: 'native', 'generic', 'offload'."""

    ifindex: int
    mtu: int
    xdp: t.Dict[str, int]


def interface(ifindex: int) -> t.Optional[Interface]:
    """None if this network namespace has no interface with that index. Raises OSError."""
    try:
        found = attributes(ask(ifindex)[LINK.size :])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise OSError(error.errno, error.strerror, f"interface {ifindex}") from error
    return Interface(ifindex, number(found.get(_IFLA_MTU, bytes(4))), programs(found))


def programs(found: t.Mapping[int, bytes]) -> t.Dict[str, int]:
    """Of an interface's attributes: its XDP programs, by mode."""
    nested = attributes(found.get(_IFLA_XDP, b""))
    return {mode: number(nested[kind]) for kind, mode in _IFLA_XDP_PROG_IDS.items() if kind in nested}


def index_of_alternative(name: str) -> int:
    """The index of the interface with this alternative name, of up to 127 bytes. Raises OSError if there is none."""
    text = os.fsencode(name) + b"\0"
    answer = ask(0, _ATTRIBUTE.pack(_ATTRIBUTE.size + len(text), _IFLA_ALT_IFNAME) + text + bytes(-len(text) % 4))
    return t.cast(int, LINK.unpack_from(answer)[2])


def ask(ifindex: int, attribute: bytes = b"") -> bytes:
    """The kernel's answer about an interface: struct ifinfomsg, and attributes. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:  # NETLINK_ROUTE
        route.send(_request(ifindex, attribute, _NLM_F_REQUEST))
        answer = route.recv(1 << 16)
    if _MESSAGE.unpack_from(answer)[1] == _NLMSG_ERROR:
        raise _error(answer[_MESSAGE.size :])
    return answer[_MESSAGE.size :]


def dump(attribute: bytes = b"") -> t.Iterator[t.Tuple[int, t.Dict[int, bytes]]]:
    """Index and attributes of all interfaces, or of those that have this attribute. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(_request(0, attribute, _NLM_F_REQUEST | _NLM_F_DUMP))
        while True:
            answer, at = route.recv(1 << 20), 0
            while at < len(answer):
                length, kind = _MESSAGE.unpack_from(answer, at)[:2]
                body = answer[at + _MESSAGE.size : at + length]
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise _error(body)
                yield LINK.unpack_from(body)[2], attributes(body[LINK.size :])
                at += length + 3 & ~3


def _error(body: bytes) -> OSError:
    number = -struct.unpack_from("=i", body)[0]
    return OSError(number, os.strerror(number))


def _request(ifindex: int, attribute: bytes, flags: int) -> bytes:
    body = LINK.pack(0, 0, ifindex, 0, 0) + struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATISTICS) + attribute
    return _MESSAGE.pack(_MESSAGE.size + len(body), _RTM_GETLINK, flags, 0, 0) + body


def attributes(text: bytes) -> t.Dict[int, bytes]:
    """By type; each begins at a multiple of 4 bytes."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(text):
        length, kind = _ATTRIBUTE.unpack_from(text, at)
        found[kind & 0x3FFF] = text[at + _ATTRIBUTE.size : at + length]  # the upper two bits are flags
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    return found


def number(value: bytes) -> int:
    return t.cast(int, struct.unpack("=I", value)[0])

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default gateway, asked for a sign of life: by ICMP, or if it ignores that, by ARP. icmp(7), packet(7), RFC 826

With raw sockets of Python only. What an XDP program drops does not come this far, so an answer is one that it passed.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import ipaddress
import os
import select
import socket
import struct
import time
import typing as t

from ..errors import FleetError

ROUTES, ROUTES6 = "/proc/self/net/route", "/proc/self/net/ipv6_route"
_GATEWAY = 0x2  # RTF_GATEWAY and RTF_UP of linux/route.h
_UP = 0x1

_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request and reply
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_ARP = 0x0806
_ETHERNET = 1  # ARPHRD_ETHER
_BROADCAST = b"\xff" * 6
_SIOCGIFADDR = 0x8915
_BY_ARP = struct.Struct("!HHBBH6s4s6s4s")


class Gateway(t.NamedTuple):
    """Of the default route; `interface` is the one that leads to it."""

    address: str
    interface: str

    def __str__(self) -> str:
        return f"the gateway {self.address} on {self.interface}"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def default_gateway() -> Gateway:
    """That of IPv4, else that of IPv6; of several, that of the lowest metric. Raises FleetError if there is none."""
    found = _of_ipv4(_lines(ROUTES)[1:]) or _of_ipv6(_lines(ROUTES6))
    if found:
        return min(found)[1]
    raise FleetError(
        "reachable: gateway asks the gateway of the default route, and this host has no default route with a gateway;"
        " name something else that it must reach: HOST:PORT, or a URL"
    )


def _lines(path: str) -> t.List[t.List[str]]:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii", errors="replace") as file:
        return [line.split() for line in file]
    return []  # a kernel without this protocol


def _of_ipv4(lines: t.Iterable[t.Sequence[str]]) -> t.List[t.Tuple[int, Gateway]]:
    """Addresses are numbers in the host's byte order, which in memory have that of the network."""
    return [
        (int(metric), Gateway(socket.inet_ntoa(struct.pack("=I", int(via, 16))), interface))
        for interface, to, via, flags, _refs, _use, metric, mask, *_more in lines
        if int(to, 16) == int(mask, 16) == 0 and int(flags, 16) & _GATEWAY and int(flags, 16) & _UP
    ]


def _of_ipv6(lines: t.Iterable[t.Sequence[str]]) -> t.List[t.Tuple[int, Gateway]]:
    return [
        (int(metric, 16), Gateway(str(ipaddress.IPv6Address(bytes.fromhex(via))), interface))
        for to, length, _from, _from_length, via, metric, _refs, _use, flags, interface in lines
        if int(to, 16) == int(length, 16) == 0 and int(flags, 16) & _GATEWAY and int(flags, 16) & _UP
    ]


def answers_icmp(gateway: Gateway, seconds: float) -> bool:
    """Whether an echo request that is sent now is answered. Raises OSError if it cannot be sent."""
    request, reply = _ECHO[gateway.family]
    token = os.urandom(16)
    with socket.socket(gateway.family, socket.SOCK_RAW, _PROTOCOL[gateway.family]) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, gateway.interface.encode())
        message = struct.pack("!BBHHH", request, 0, 0, os.getpid() & 0xFFFF, 1) + token
        if gateway.family == socket.AF_INET:  # of ICMPv6 the kernel makes the checksum, with the addresses
            message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        scope = (0, socket.if_nametoindex(gateway.interface)) if gateway.family == socket.AF_INET6 else ()
        asking.sendto(message, (gateway.address, 0, *scope))
        for answer in _received(asking, seconds):
            body = answer[(answer[0] & 0xF) * 4 :] if gateway.family == socket.AF_INET else answer
            if body[:1] == bytes([reply]) and body[8:] == token:
                return True
    return False


def answers_arp(gateway: Gateway, seconds: float) -> bool:
    """Whether an ARP request that is sent now is answered. False where there is no ARP. Raises OSError."""
    if gateway.family != socket.AF_INET:
        return False
    wanted = socket.inet_aton(gateway.address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP)) as asking:
        asking.bind((gateway.interface, _ARP))
        _name, _protocol, _kind, hardware, own = asking.getsockname()
        if hardware != _ETHERNET:
            return False
        request = _BY_ARP.pack(_ETHERNET, 0x0800, 6, 4, 1, own, _own_address(gateway.interface), bytes(6), wanted)
        asking.sendto(request, (gateway.interface, _ARP, 0, 0, _BROADCAST))
        for answer in _received(asking, seconds):
            if len(answer) >= _BY_ARP.size:
                fields = _BY_ARP.unpack_from(answer)
                if fields[4] == 2 and fields[6] == wanted and fields[7] == own:
                    return True
    return False


def _own_address(interface: str) -> bytes:
    import fcntl  # here: it is not on every controller, and the controller may import this

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("16s24x", interface.encode()))
        except OSError:  # it has no address of its own: ask as a host does that is only looking (RFC 5227)
            return bytes(4)
    return answer[20:24]


def _received(asking: socket.socket, seconds: float) -> t.Iterator[bytes]:
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([asking], [], [], left)[0]:
            return
        yield asking.recv(2048)


def checksum(message: bytes) -> int:
    """RFC 1071; of a whole number of words of 16 bits."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

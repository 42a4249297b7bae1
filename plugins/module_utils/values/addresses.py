# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses as text. In bytes they lie as in the packet, whatever the type of the member."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import itertools
import socket
import typing as t

from .columns import PackMany
from .refused import refuse


def _ipv4(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        raise refuse(text, "is not an IPv4 address, such as 192.0.2.1") from None


def _ipv6(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        raise refuse(text, "is not an IPv6 address, such as 2001:db8::1") from None


def _mac(text: str) -> bytes:
    parts = text.replace("-", ":").split(":")
    try:
        if len(parts) == 6 and all(len(each) == 2 and each.isalnum() for each in parts):
            return bytes([int(each, 16) for each in parts])
    except ValueError:
        pass
    raise refuse(text, "is not a MAC address, such as 02:00:00:00:00:01")


def packer(family: int) -> PackMany:
    return lambda texts: b"".join(map(socket.inet_pton, itertools.repeat(family), texts))


def _macs(texts: t.Sequence[str]) -> bytes:
    """Of texts of two digits six times, and so with a separator at each third place, if the digits are enough."""
    every = ":".join(texts).replace("-", ":")
    packed = bytes.fromhex(every.replace(":", ""))
    if set(map(len, texts)) != {17} or every[2::3].strip(":") or len(packed) != 6 * len(texts):
        raise ValueError
    return packed


class Address(t.NamedTuple):
    encode: t.Callable[[str], bytes]
    decode: t.Callable[[bytes], str]
    pack_many: PackMany


_IPV4 = Address(_ipv4, lambda data: socket.inet_ntop(socket.AF_INET, data), packer(socket.AF_INET))
_IPV6 = Address(_ipv6, lambda data: socket.inet_ntop(socket.AF_INET6, data), packer(socket.AF_INET6))
_MAC = Address(_mac, lambda data: data.hex(":"), _macs)
TEXTS = {"ipv4": _IPV4, "ipv6": _IPV6, "mac": _MAC}
ADDRESSES = {4: _IPV4.pack_many, 16: _IPV6.pack_many, 6: _MAC.pack_many}  # by their bytes


def address_of(text: str, size: int) -> t.Optional[bytes]:
    """None if the text does not look like an address of this many bytes."""
    if size == 4 and text.count(".") == 3:
        return _ipv4(text)
    if size == 16 and ":" in text:
        return _ipv6(text)
    if size == 6 and text.count(":") + text.count("-") == 5:
        return _mac(text)
    return None

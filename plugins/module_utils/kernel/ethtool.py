# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Driver and queues of a network interface. ioctl SIOCETHTOOL, include/uapi/linux/ethtool.h.

Not read from /sys, which shows the interfaces of the network namespace that mounted it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import typing as t

SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 0x03
ETHTOOL_GCHANNELS = 0x3C


def _ask(name: str, command: int, size: int) -> t.Optional[bytes]:
    data = ctypes.create_string_buffer(struct.pack("I", command), size)
    request = struct.pack("16sQ8x", os.fsencode(name), ctypes.addressof(data))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, SIOCETHTOOL, request)
        except OSError:
            return None
    return data.raw


def driver(name: str) -> t.Optional[str]:
    """None if no driver answers, as with the loopback interface."""
    answer = _ask(name, ETHTOOL_GDRVINFO, 196)
    return answer[4:36].split(b"\0", 1)[0].decode() or None if answer else None


def queues(name: str) -> t.Optional[t.Dict[str, int]]:
    """Receive and transmit queues in use; a combined queue counts as both. None if the driver does not say."""
    answer = _ask(name, ETHTOOL_GCHANNELS, 36)
    if not answer:
        return None
    rx, tx, _other, combined = struct.unpack_from("4I", answer, 20)
    return {"rx": rx + combined, "tx": tx + combined}

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
ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GSSET_INFO = 0x37
ETHTOOL_GFEATURES = 0x3A
ETHTOOL_GCHANNELS = 0x3C
ETH_SS_FEATURES = 4


def _ask(name: str, command: int, size: int, *more: int) -> t.Optional[bytes]:
    """`more`: numbers that follow the command. None if the driver does not answer."""
    data = ctypes.create_string_buffer(struct.pack(f"{1 + len(more)}I", command, *more), size)
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


def features_on(name: str) -> t.Dict[str, bool]:
    """The offloads and other features that are on, as `ethtool -k` names them, and whether each can be turned off.

    Empty if the driver does not say.
    """
    # struct ethtool_sset_info: command, reserved, mask (64 bits), and a count for each bit in the mask.
    mask = struct.unpack("2I", struct.pack("Q", 1 << ETH_SS_FEATURES))
    sets = _ask(name, ETHTOOL_GSSET_INFO, 20, 0, *mask)
    count = struct.unpack_from("I", sets, 16)[0] if sets else 0
    blocks = (count + 31) // 32
    names = _ask(name, ETHTOOL_GSTRINGS, 12 + 32 * count, ETH_SS_FEATURES, count)
    values = _ask(name, ETHTOOL_GFEATURES, 8 + 16 * blocks, blocks)
    if not names or not values:
        return {}
    # struct ethtool_get_features_block, of 32 features each
    available, _requested, active, never_changed = zip(*struct.iter_unpack("4I", values[8:]))
    texts = [names[at : at + 32].split(b"\0", 1)[0].decode() for at in range(12, 12 + 32 * count, 32)]

    def has(bits: t.Sequence[int], number: int) -> bool:
        return bool(bits[number // 32] >> number % 32 & 1)

    return {
        text: has(available, number) and not has(never_changed, number)
        for number, text in enumerate(texts)
        if has(active, number)
    }

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the packets that reach the network stack of an interface, behind XDP. packet(7)."""

from __future__ import annotations

import socket
import struct
import typing as t

ETH_P_ALL = 0x0003
# linux/if_packet.h
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_IGNORE_OUTGOING = 23  # kernel 4.20


class Arrivals:
    """Counts the packets that arrive on an interface until this is closed; a context manager.

    The stack may have merged several frames into one packet (GRO) before they are counted here.
    """

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # only their number matters
            self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((interface, ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._socket.close()

    def packets(self) -> int:
        """The number since the last call. Nothing reads the packets, but unread ones count too."""
        packets, _dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return t.cast(int, packets)

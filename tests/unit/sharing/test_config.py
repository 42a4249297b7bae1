# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a dispatcher as bytes."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.config import (
    Config,
    Slot,
    Unreadable,
    in_order,
    pack,
    unpack,
)

SLOTS = (Slot(5, ("drop", "pass"), True), Slot(50, ("pass",)), Slot(90, ()))


@pytest.mark.parametrize(("version", "size"), [(2, 124), (3, 128)])
def test_what_is_packed_is_read_again(version: int, size: int) -> None:
    config = Config(version, SLOTS, frags=True)
    assert len(pack(config)) == size
    assert unpack(pack(config)) == config


def test_the_bytes_are_those_of_libxdp() -> None:
    """struct xdp_dispatcher_config of version 2, as xdp-loader 1.3.1 shows it: actions with bit 31, then priorities."""
    data = pack(Config(2, (Slot(10, ("pass",)),)))
    assert data[:8] == bytes([236, 2, 1, 0]) + struct.pack("=I", 1 << 31 | 1 << 2)
    assert struct.unpack_from("=I", data, 4 + 40) == (10,)
    assert struct.unpack_from("=I", data, 4 + 80) == (0,)


def test_version_1_is_only_read() -> None:
    words = [1 << 31 | 1 << 2, 1 << 31 | 1 << 1, *[0] * 8, 50, 60, *[0] * 8]
    assert unpack(struct.pack("=B3x20I", 2, *words)) == Config(1, (Slot(50, ("pass",)), Slot(60, ("drop",))))
    with pytest.raises(ValueError, match="version 1 cannot be made"):
        pack(Config(1, SLOTS))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not have the configuration"),
        (bytes(124), "does not have the configuration"),
        (bytes([236, 4, 1, 0]) + bytes(120), "of version 4, and only versions 1 to 3"),
        (bytes([236, 2, 11, 0]) + bytes(120), "has 11 programs"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        unpack(data)


def test_words() -> None:
    assert in_order(["redirect", "pass", "drop", "pass"]) == ("drop", "pass", "redirect")
    assert str(SLOTS[0]) == "priority 5, the next program runs after drop or pass"
    assert str(SLOTS[2]) == "priority 90, no program runs after it"

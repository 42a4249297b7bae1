# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver's features, as drivers answer that this machine does not have."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel import ethtool


def test_features_on_and_whether_they_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"feature-{number}" for number in range(40)]
    on, changeable, never_changed = {1, 3, 33, 35}, {1, 2, 33, 35}, {35}

    def bits(numbers: t.Container[int], block: int) -> int:
        return sum(1 << bit for bit in range(32) if 32 * block + bit in numbers)

    def answer(_name: str, command: int, size: int, *_more: int) -> bytes:
        blocks = [(bits(changeable, each), 0, bits(on, each), bits(never_changed, each)) for each in range(2)]
        found = {
            ethtool.ETHTOOL_GSSET_INFO: struct.pack("4I", command, 0, 0, 0) + struct.pack("I", len(names)),
            ethtool.ETHTOOL_GSTRINGS: bytes(12) + b"".join(struct.pack("32s", name.encode()) for name in names),
            ethtool.ETHTOOL_GFEATURES: bytes(8) + b"".join(struct.pack("4I", *block) for block in blocks),
        }[command]
        assert len(found) == size
        return found

    monkeypatch.setattr(ethtool, "_ask", answer)
    found = ethtool.features_on("eth9")
    assert found == {"feature-1": True, "feature-3": False, "feature-33": True, "feature-35": False}


def test_a_driver_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethtool, "_ask", lambda *_arguments: None)
    assert ethtool.features_on("eth9") == {}

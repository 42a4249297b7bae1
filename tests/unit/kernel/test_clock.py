# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times in facts."""

from __future__ import annotations

import pathlib
import re
import time

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel import clock


@pytest.mark.parametrize("zone", ["UTC", "XXX-05:30", "XXX+11"])
def test_iso_is_utc_in_every_time_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with monkeypatch.context() as patched:
            patched.setenv("TZ", zone)
            time.tzset()
            assert clock.iso(0) == "1970-01-01T00:00:00Z"
            assert clock.iso(1763989445.4) == "2025-11-24T13:04:05Z"
            assert clock.iso(1763989445.6) == "2025-11-24T13:04:06Z"
    finally:
        time.tzset()


def test_loaded_at_counts_from_boot_including_suspends(monkeypatch: pytest.MonkeyPatch) -> None:
    up = {time.CLOCK_BOOTTIME: 400.0, time.CLOCK_MONOTONIC: 100.0}  # 300 s of that suspended
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    monkeypatch.setattr(time, "clock_gettime", up.__getitem__)
    assert clock.loaded_at(0) == "1970-01-01T00:10:00Z"
    assert clock.loaded_at(65_000_000_000) == "1970-01-01T00:11:05Z"


def test_boot_id() -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", clock.boot_id())
    assert clock.boot_id() == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()

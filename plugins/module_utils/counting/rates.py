# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates between two readings of a counter."""

from __future__ import annotations

import typing as t

from .counters import Reading


def per_second(before: Reading, after: Reading) -> t.Dict[str, float]:
    """Rates between two readings; a counter that was reset meanwhile counts from zero."""
    seconds = after.at - before.at
    start = before if before.packets <= after.packets else Reading(before.at, ())
    return {
        "packets_per_second": round((after.packets - start.packets) / seconds, 3),
        "bytes_per_second": round((after.bytes - start.bytes) / seconds, 3),
    }

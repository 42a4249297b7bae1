# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times in facts, ISO 8601 in UTC, to the second; and the id of the current boot."""

from __future__ import annotations

import time


def iso(seconds: float) -> str:
    """From seconds since 1970."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(round(seconds)))


def loaded_at(since_boot: int) -> str:
    """From ns since boot, as in the kernel's information on a program."""
    return iso(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot / 1e9)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running kernel is made of, where it is not its answer to a call that tells what it can do."""

from __future__ import annotations

import contextlib


def kernel_has(function: str) -> bool:
    """Whether the running kernel has this function, by its own list of types, else of symbols."""
    for path in ("/sys/kernel/btf/vmlinux", "/proc/kallsyms"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            return function.encode() in file.read()
    return False

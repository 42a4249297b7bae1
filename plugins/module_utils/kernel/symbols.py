# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions of the running kernel, by name and by address."""

from __future__ import annotations

import contextlib
import re
import typing as t


def kernel_has(function: str) -> bool:
    """Whether the running kernel has a function, according to its BTF, else to its symbols.

    Detects what no system call reports.
    """
    for path in ("/sys/kernel/btf/vmlinux", "/proc/kallsyms"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            return function.encode() in file.read()
    return False


class KernelSymbols:
    """A snapshot of /proc/kallsyms, which includes BPF programs.

    Empty if the kernel withholds addresses (kernel.kptr_restrict).
    """

    def __init__(self, path: str = "/proc/kallsyms") -> None:
        self._text = b""
        with contextlib.suppress(OSError), open(path, "rb") as file:
            # Some 200,000 lines, of which a handful is needed: searched, not parsed.
            self._text = b"\n" + file.read()

    def name(self, address: int) -> t.Optional[str]:
        found = re.search(rb"\n%016x \S (\S+)" % (address & 0xFFFFFFFFFFFFFFFF), self._text) if address else None
        return found.group(1).decode(errors="replace") if found else None

    def address(self, name: str) -> int:
        """0 if there is no such symbol, or its address is withheld."""
        found = re.search(rb"\n([0-9a-f]{16}) \S %s[\t\n]" % re.escape(name.encode()), self._text)
        return int(found.group(1), 16) if found else 0

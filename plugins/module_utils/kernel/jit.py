# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel compiles BPF programs to native code or interprets them: admin-guide/sysctl/net.rst there."""

from __future__ import annotations

import typing as t

from .remedies import read_text
from .symbols import kernel_has

SYSCTL = "net.core.bpf_jit_enable"


def jit() -> t.Dict[str, t.Any]:
    """bpf_jit_enable (0 off, 1 on, 2 debug) and bpf_jit_harden (0 off, 1 unprivileged, 2 all), and if there is a JIT.

    null in a network namespace, where these are not visible, and where there is none.
    """
    values = {name: read_text(f"/proc/sys/net/core/bpf_jit_{name}") for name in ("enable", "harden")}
    found = {name: int(value) if value else None for name, value in values.items()}
    return {**found, "available": found["enable"] is not None or kernel_has("bpf_jit_binary_alloc")}


def remedy() -> str:
    """What to do if the kernel interprets a program: one sentence, not capitalised, without a full stop."""
    if jit()["available"]:
        return f"after `sysctl {SYSCTL}=1`, newly loaded programs have native code"
    return "it was built without a JIT compiler for BPF; use one with CONFIG_BPF_JIT"

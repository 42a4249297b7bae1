# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel supports, found by probing it, not by its version."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import typing as t

from ..libbpf import links, probe
from ..libbpf.library import BpfError, Fd, Libbpf
from ..sharing import made
from . import host

CLONE_NEWNET = 0x40000000
LOOPBACK = 1


def _return(action: int) -> bytes:
    """An XDP program that only returns this action: r0 = action; exit."""
    return struct.pack("=BBhi", 0xB7, 0, 0, action) + struct.pack("=BBhi", 0x95, 0, 0, 0)


XDP_DROP, XDP_PASS = _return(1), _return(2)


def refused(lib: Libbpf, check: bool) -> t.Optional[BpfError]:
    """The error if the kernel refuses bpf() altogether: to list programs, or to load one that does nothing."""
    try:
        next(lib.ids("prog"), None)
        if not check:
            with probe.ask(lib, XDP_PASS):
                pass
    except BpfError as error:
        return error
    return None


def features(lib: t.Optional[Libbpf]) -> t.Dict[str, t.Optional[bool]]:
    """What the kernel accepts; null if it was not probed (lib is None) or does not load the probe."""
    events = f"{host.mounted('tracefs')}/events"
    found: t.Dict[str, t.Optional[bool]] = {
        "xdp_link": None,
        "frags": None,
        "live_frames": None,
        "dispatcher": None,
        "trace_event": os.path.isdir(f"{events}/bpf_trace") if os.path.isdir(events) else None,
    }
    if not lib:
        return found
    with contextlib.suppress(BpfError), probe.ask(lib, XDP_PASS) as passes:
        found["xdp_link"] = _in_new_namespace(lambda: links.create(lib, passes, LOOPBACK, "generic"))
        found["frags"] = _agrees(lambda: probe.ask(lib, XDP_PASS, frags=True))
        found["dispatcher"] = made.refused(lib) is None
        with probe.ask(lib, XDP_DROP) as drops:
            live = probe.BPF_F_TEST_XDP_LIVE_FRAMES
            found["live_frames"] = _agrees(lambda: probe.test_run(lib, drops, bytes(64), 1, live, 1))
    return found


def _agrees(ask: t.Callable[[], t.Any]) -> bool:
    try:
        answer = ask()
    except BpfError:
        return False
    if isinstance(answer, Fd):
        with answer:
            pass
    return True


def _in_new_namespace(ask: t.Callable[[], t.Any]) -> t.Optional[bool]:
    """Ask in a child with a network namespace of its own, so that no interface of the host is touched."""
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            if not ctypes.CDLL(None).unshare(CLONE_NEWNET):
                answer = 0 if _agrees(ask) else 1
        finally:
            os._exit(answer)
    status = os.waitpid(child, 0)[1]
    return {0: True, 1: False}.get(os.WEXITSTATUS(status))

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on interfaces, as data for the controller that made a change."""

from __future__ import annotations

import contextlib
import typing as t

from ..kernel import rtnetlink
from ..libbpf.library import BpfError, Libbpf
from .hooks import Links, hooks
from .interfaces import find_interface


def what_runs(lib: Libbpf, interfaces: t.Iterable[str]) -> t.Dict[str, t.List[t.Dict[str, t.Any]]]:
    """The programs on each interface, by its name; an empty list if it does not exist."""
    found: t.Dict[str, t.List[t.Dict[str, t.Any]]] = {}
    links = Links(lib)
    for name in interfaces:
        index = find_interface(name)[1]
        found[name] = []
        if index:
            with contextlib.suppress(BpfError):  # it disappeared meanwhile
                found[name] = [hook.data() for hook in hooks(lib, rtnetlink.interface(index), links)]
    return found

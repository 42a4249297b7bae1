# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces by name: checked, resolved and listed."""

from __future__ import annotations

import re
import socket
import typing as t

from ..errors import FleetError
from ..state.places import shortened


def resolve(names: t.Iterable[str]) -> t.List[str]:
    """The kernel's names of the interfaces that a user named, each once, in the user's order.

    Raises FleetError for a name that no interface can have. One that does not exist keeps its name.
    """
    return list(dict.fromkeys(find_interface(check_interface_name(name))[0] for name in names))


def check_interface_name(name: str) -> str:
    """The kernel's own rule, dev_valid_name() in net/core/dev.c."""
    if not 0 < len(name.encode()) < 16 or name in (".", "..") or re.search(r"[/:\s%]", name):
        raise FleetError(
            f"interface {shortened(name)} cannot exist: Linux allows 1 to 15 characters,"
            " no slash, colon, percent sign or space; see `ip link`"
        )
    return name


def find_interface(name: str) -> t.Tuple[str, int]:
    """The kernel's name of an interface (an alternative name is resolved) and its index, 0 if it does not exist."""
    try:
        index = socket.if_nametoindex(name)
        return socket.if_indextoname(index), index
    except OSError:
        return name, 0


def all_interfaces() -> t.Dict[str, int]:
    """Index by name, in this network namespace."""
    return {name: index for index, name in socket.if_nameindex()}

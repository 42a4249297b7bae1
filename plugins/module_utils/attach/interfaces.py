# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces by name: checked, resolved and listed."""

from __future__ import annotations

import os
import re
import socket
import typing as t

from ..errors import FleetError
from ..kernel import rtnetlink
from ..state.places import shortened

IFNAMSIZ, ALTIFNAMSIZ = 16, 128  # with the NUL at the end; linux/if.h, linux/netdevice.h


def resolve(names: t.Iterable[str]) -> t.List[str]:
    """The kernel's names of the interfaces that a user named, each once, in the user's order.

    Raises FleetError for a name that no interface can have. One that does not exist keeps its name.
    """
    return list(dict.fromkeys(_resolved(check_interface_name(name)) for name in names))


def check_interface_name(name: str) -> str:
    """The kernel's own rule, dev_valid_name() in net/core/dev.c; alternative names may be longer."""
    if (
        not 0 < len(name.encode(errors="replace")) < ALTIFNAMSIZ
        or name in (".", "..")
        or re.search(r"[/:\s%\ud800-\udfff]", name)
    ):
        raise FleetError(
            f"interface {shortened(name)} cannot exist: Linux allows 1 to 15 characters, in an alternative name"
            f" {ALTIFNAMSIZ - 1}, no slash, colon, percent sign or space; see `ip link`"
        )
    return name


def _resolved(name: str) -> str:
    found, index = find_interface(name)
    if not index and len(name.encode()) >= IFNAMSIZ:
        raise FleetError(
            f"there is no interface {shortened(name)} on this host: a name of more than 15 characters can only be an"
            f" alternative name (altname), and `ip link` lists none like this"
        )
    if printable(found) != found:
        raise FleetError(
            f"the name of interface {shortened(name)} in the kernel, {printable(found)}, is not UTF-8, and cannot be"
            f" used: rename it with `ip link set dev if{index} name NAME`"
        )
    return found


def find_interface(name: str) -> t.Tuple[str, int]:
    """The kernel's name of an interface (an alternative name is resolved) and its index, 0 if it does not exist."""
    try:
        is_long = len(os.fsencode(name)) >= IFNAMSIZ
        index = rtnetlink.index_of_alternative(name) if is_long else socket.if_nametoindex(name)
        return socket.if_indextoname(index), index
    except OSError:
        return name, 0


def printable(name: str) -> str:
    """A name or path that JSON can carry: bytes in it that are not UTF-8 become \\xff."""
    return os.fsencode(name).decode(errors="backslashreplace")


def all_interfaces() -> t.Dict[str, int]:
    """Index by name, in this network namespace. A name may not be UTF-8: see printable()."""
    return {name: index for index, name in socket.if_nameindex()}

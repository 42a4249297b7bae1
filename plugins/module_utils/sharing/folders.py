# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pins of a dispatcher, which are libxdp's to read, and a mark in /run for each folder of them that is ours.

libxdp allows nothing else in such a folder. A run that is killed leaves one; so does an interface that goes away. The
mark is made before the folder, and says in which network namespace the interface is: the same index means another
interface in each.
"""

from __future__ import annotations

import os
import typing as t

from ..kernel import rtnetlink
from ..libbpf.library import Libbpf
from ..state.identity import root_of_namespace
from ..state.places import BPFFS, DISPATCHERS, RECORDS, escape, scan
from ..state.private_files import make_folder, remove, remove_empty
from .dispatcher import FOLDER, folder_of


def _namespace() -> str:
    return escape(os.path.basename(root_of_namespace(f"{BPFFS}/x")))


def _mark(ifindex: int, dispatcher: int) -> str:
    return f"{DISPATCHERS}/{ifindex}-{dispatcher}-{_namespace()}"


def pin(lib: Libbpf, ifindex: int, dispatcher: int, slots: t.Sequence[t.Tuple[int, int]]) -> None:
    """`slots`: the fds of program and link of each."""
    folder = folder_of(ifindex, dispatcher)
    mark(ifindex, dispatcher)
    os.mkdir(folder, 0o700)
    for number, (program, link) in enumerate(slots):
        lib.pin(link, f"{folder}/prog{number}-link")
        lib.pin(program, f"{folder}/prog{number}-prog")


def mark(ifindex: int, dispatcher: int) -> None:
    """Write down that this run may leave its folder behind."""
    make_folder(DISPATCHERS)
    with open(os.open(_mark(ifindex, dispatcher), os.O_WRONLY | os.O_CREAT, 0o600), "wb"):
        pass


def unpin(ifindex: int, dispatcher: int) -> None:
    """Remove the folder of a dispatcher, ours or another's, that is on no interface any more. The caller has waited
    until no packet is in it.
    """
    folder = folder_of(ifindex, dispatcher)
    for entry in scan(folder):
        remove(entry.path)
    remove_empty(folder)
    forget(ifindex, dispatcher)


def forget(ifindex: int, dispatcher: int) -> None:
    """Remove the mark: there is no folder, or no program of ours in it."""
    remove(_mark(ifindex, dispatcher))
    remove_empty(DISPATCHERS, RECORDS)


def make_root() -> None:
    """The folder that libxdp makes, and locks."""
    if not os.path.isdir(FOLDER):
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)


def left_over() -> t.List[t.Tuple[int, int]]:
    """Index and dispatcher of what killed runs left, or interfaces that went away; of this network namespace."""
    return [each for each in _marked() if not _is_attached(*each)]


def attached() -> t.List[t.Tuple[int, int]]:
    """Index and dispatcher of those that are on an interface of this network namespace."""
    return [each for each in _marked() if _is_attached(*each)]


def _marked() -> t.Iterator[t.Tuple[int, int]]:
    own = _namespace()
    for entry in scan(DISPATCHERS):
        ifindex, dispatcher, namespace = entry.name.split("-", 2)
        if namespace == own:
            yield int(ifindex), int(dispatcher)


def _is_attached(ifindex: int, dispatcher: int) -> bool:
    interface = rtnetlink.interface(ifindex)
    return interface is not None and dispatcher in interface.xdp.values()

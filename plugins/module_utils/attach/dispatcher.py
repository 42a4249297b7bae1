# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XDP by dispatcher: our program is one of several on an interface, in the way of libxdp.

Each change makes a new dispatcher for all programs that shall run, attaches them to it, pins it as libxdp does, and puts
it in the place of the old one by netlink, if that is still the one that was seen: each packet meets one or the other.
Others (libxdp) may be faster; then it begins again. After that nothing is taken from the old one until no packet is in
it any more: current kernels do not wait when a pin is removed.
"""

from __future__ import annotations

import contextlib
import errno
import time
import typing as t

from ..errors import FleetError
from ..kernel import rtnetlink
from ..libbpf import extensions, info, links
from ..libbpf.library import BpfError, Libbpf
from ..sharing import folders, made, version
from ..sharing.code import entry_of
from ..sharing.config import SLOTS, Config, Slot
from ..sharing.dispatcher import Component, Dispatcher, program_pin
from ..state import locks
from .hooks import Hook, Links, hooks
from .link import Rejected, refuse_to_panic, warn_if_inexact

if t.TYPE_CHECKING:
    from ..state.places import Place
    from .hooks import Attachment
    from .work import Work

TRIES = 10
_LOCK_SECONDS = 30.0  # libxdp holds its lock for single steps
_UNDO_SECONDS = 2.0
_CHANGED = (errno.EEXIST, errno.EBUSY, errno.ENOENT)  # what netlink says if the program is not the expected one

Program = t.Tuple[int, Slot]  # its fd, and where it stands


def unpinned(_program_id: int, _here: t.Iterable[Hook]) -> t.Optional[Hook]:
    """None: there is no pin of ours that could be gone, as libxdp's hold a program in a dispatcher."""
    return None


def adopt(_work: Work, place: Place, _hook: Hook) -> None:
    raise FleetError(f"{place.name} on {place.interface} is in a dispatcher, which has no link of its own to pin")


def attach(work: Work, place: Place, ifindex: int, program: int, mode: str, slot: t.Optional[Slot] = None) -> None:
    """Join the dispatcher on the interface, or make one where there is nothing. Its mode is that of all programs."""
    fd, wanted = _duplicate(work, program), slot or Slot()
    number = info.program_info(work.lib, fd).id
    if mode == "generic":
        refuse_to_panic(place)
    work.undo(_undo, work, place, ifindex, number, None)
    try:
        in_force = _change(work, place, ifindex, 0, (fd, wanted), "native" if mode == "auto" else mode)
    except Rejected as native:
        if mode != "auto":
            raise
        refuse_to_panic(place, f"; it rejected native mode: {native.why}{native.remedy}")
        in_force = _change(work, place, ifindex, 0, (fd, wanted), "generic")
        work.warn(
            f"{place.interface} rejected {place.name} in native mode: {native.why};"
            f" it is attached in generic mode, which is slower{native.remedy};"
            f" if generic mode is what you want, set mode: generic"
        )
    warn_if_inexact(work, place, ifindex, in_force)


def swap(work: Work, place: Place, ours: t.Optional[Attachment], program: int, slot: t.Optional[Slot] = None) -> None:
    """A new dispatcher with the new program in the place of the old one, or with the same in another place."""
    if not ours or not ours.component:
        raise FleetError(f"{place.name} on {place.interface} is in no dispatcher any more; run the task again")
    old = work.hold(work.lib.program_by_id(ours.program_id))
    fd = _duplicate(work, program)
    number = info.program_info(work.lib, fd).id
    work.undo(_undo, work, place, ours.ifindex, number, (old, ours.component.slot))
    _change(work, place, ours.ifindex, ours.program_id, (fd, slot or ours.component.slot), ours.mode or "native")


def detach(work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
    """A new dispatcher without our program; none if it was the last one."""
    if not ours.component or not ours.mode:
        return
    old = work.hold(work.lib.program_by_id(ours.program_id))
    work.undo(_undo, work, place, ifindex, 0, (old, ours.component.slot), ours.mode)
    _change(work, place, ifindex, ours.program_id, None, ours.mode)


def _duplicate(work: Work, program: int) -> int:
    """The caller closes its own."""
    return work.hold(work.lib.program_by_id(info.program_info(work.lib, program).id))


def _undo(
    work: Work, place: Place, ifindex: int, ours: int, program: t.Optional[Program], mode: str = "native"
) -> None:
    """With `program` in the place of `ours`, or without it. Nothing to do if what was tried did not happen."""
    now = look(work.lib, ifindex)
    inside = {each.program.id for each in now.components} if now else set()
    if program is None and ours not in inside:
        return
    if program and info.program_info(work.lib, program[0]).id in inside:
        return
    _change(work, place, ifindex, ours if ours in inside else 0, program, mode, undoing=True)


def look(lib: Libbpf, ifindex: int) -> t.Optional[Hook]:
    """The program on the interface; None without one. Raises FleetError if there are several."""
    found = hooks(lib, rtnetlink.interface(ifindex), Links(lib))
    if len(found) > 1:
        raise FleetError(f"interface {ifindex} runs {' and '.join(map(str, found))}: a dispatcher would not be alone")
    return found[0] if found else None


class _Overtaken(Exception):
    """The program on the interface is not the one that was seen any more."""


def _change(
    work: Work,
    place: Place,
    ifindex: int,
    ours: int,
    program: t.Optional[Program],
    mode: str,
    undoing: bool = False,
) -> str:
    """`ours`: the id of our program that goes, 0: none; `program`: what comes. Returns the mode in force.

    `mode` counts only where there is no dispatcher yet.
    """
    folders.make_root()
    for number in range(TRIES):
        with _locked(work, undoing):
            try:
                return _replace(work, place, ifindex, ours, program, mode)
            except _Overtaken:
                pass
        time.sleep(0.001 * 2**number)
    raise FleetError(
        f"cannot change what runs on {place.interface} for {place.name}: in {TRIES} attempts, somebody else (xdp-loader,"
        " or a program that uses libxdp) was faster each time; run the task again when that has ended"
    )


@contextlib.contextmanager
def _locked(work: Work, undoing: bool) -> t.Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(
                locks.lock(locks.of_dispatchers(), _UNDO_SECONDS if undoing else _LOCK_SECONDS, work.warn)
            )
        except FleetError:
            if not undoing:  # a rollback waits for nobody
                raise
        yield


def _replace(work: Work, place: Place, ifindex: int, ours: int, program: t.Optional[Program], mode: str) -> str:
    now = look(work.lib, ifindex)
    there = _there(place, now)
    mode = now.mode if now else mode
    with contextlib.ExitStack() as held:
        old = held.enter_context(work.lib.program_by_id(now.program.id)) if now else -1
        wanted = _wanted(work.lib, held, place, ifindex, there, ours, program)
        if not wanted:
            if now:
                folders.mark(ifindex, now.program.id)
                _put(work, ifindex, -1, old, now.mode)
            fresh = 0
        else:
            if now:
                folders.mark(ifindex, now.program.id)
            fresh = _put_new(work, held, place, ifindex, there, wanted, old, mode)
        extensions.wait_for_running_programs(work.lib)
        if now and now.program.id != fresh:
            folders.unpin(ifindex, now.program.id)
    return mode


def _there(place: Place, now: t.Optional[Hook]) -> t.Optional[Dispatcher]:
    if now is None:
        return None
    if now.dispatcher is None or now.dispatcher.trouble:
        why = f": {now.dispatcher.trouble}" if now.dispatcher else ", which is no dispatcher"
        raise FleetError(f"cannot attach {place.name} to {place.interface} beside {now}{why}")
    return now.dispatcher


def _wanted(
    lib: Libbpf,
    held: contextlib.ExitStack,
    place: Place,
    ifindex: int,
    there: t.Optional[Dispatcher],
    ours: int,
    program: t.Optional[Program],
) -> t.List[t.Tuple[int, Component]]:
    """The fds of all programs that shall run, in their order."""
    found = []
    for number, each in enumerate(there.components if there else ()):
        if each.program.id != ours:
            found.append((held.enter_context(_pinned(lib, ifindex, t.cast(Dispatcher, there), number)), each))
    if program:
        if len(found) >= SLOTS:
            raise FleetError(refuse_full(place.name, place.interface))
        fd, slot = program
        found.append((fd, Component(slot, info.program_info(lib, fd))))
    return sorted(found, key=lambda each: each[1].order)


def refuse_full(name: str, interface: str) -> str:
    return (
        f"cannot attach {name} to {interface}: its dispatcher has {SLOTS} programs, which is the most;"
        f" `xdp-loader status {interface}` lists them"
    )


def _pinned(lib: Libbpf, ifindex: int, there: Dispatcher, number: int) -> t.ContextManager[int]:
    try:
        return lib.get(program_pin(ifindex, there.id, number))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            raise _Overtaken from error
        raise


def _put_new(
    work: Work,
    held: contextlib.ExitStack,
    place: Place,
    ifindex: int,
    there: t.Optional[Dispatcher],
    wanted: t.Sequence[t.Tuple[int, Component]],
    old: int,
    mode: str,
) -> int:
    """Make the dispatcher, pin it and put it on the interface. Returns its id."""
    lib = work.lib
    slots = tuple(component.slot for _fd, component in wanted)
    config = Config(there.version if there else version.of_this_host(), slots, all(slot.frags for slot in slots))
    new = made.make(lib, held.enter_context, config)
    pinned = []
    for number, (fd, component) in enumerate(wanted):
        where = new.functions[entry_of(number, len(wanted))]
        try:
            pinned.append((fd, held.enter_context(extensions.attach(lib, fd, new.fd, where))))
        except BpfError as error:
            raise FleetError(
                f"cannot attach {place.name} to {place.interface}: the kernel does not put {component} into a new"
                f" dispatcher: {error.strerror}"
            ) from error
    try:
        folders.pin(lib, ifindex, new.id, pinned)
        _put(work, ifindex, new.fd, old, mode)
    except BpfError as error:
        folders.unpin(ifindex, new.id)
        if error.errno in (errno.EPERM, errno.ENODEV):
            raise
        from .refusal import refusal  # here: a target compiles what it imports, and rarely needs this

        why = refusal(lib, place.interface, ifindex, new.fd, mode, error)
        raise Rejected(place, mode, *why, by="dispatcher") from error
    except BaseException:
        folders.unpin(ifindex, new.id)
        raise
    return new.id


def _put(work: Work, ifindex: int, program: int, old: int, mode: str) -> None:
    """-1 for `program`: none; for `old`: there is none. Raises _Overtaken if it is not the one that is there."""
    try:
        links.netlink_replace(work.lib, ifindex, program, old, mode)
    except BpfError as error:
        if error.errno in _CHANGED and _is_another(work.lib, ifindex, old):
            raise _Overtaken from error
        raise


def _is_another(lib: Libbpf, ifindex: int, old: int) -> bool:
    interface = rtnetlink.interface(ifindex)
    expected = {info.program_info(lib, old).id} if old >= 0 else set()
    return interface is None or set(interface.xdp.values()) != expected


def sweep(lib: Libbpf) -> None:
    """Remove the pins of dispatchers of ours that are on no interface: what killed runs left."""
    found = folders.left_over()
    if found:
        extensions.wait_for_running_programs(lib)
        for ifindex, dispatcher in found:
            folders.unpin(ifindex, dispatcher)

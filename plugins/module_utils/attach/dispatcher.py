# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XDP by dispatcher: our program is one of several on an interface, in the way of libxdp.

Each change makes a new dispatcher for all programs that shall run, attaches them to it, pins it as libxdp does, and
puts it in the place of the old one by netlink, if that is still the one that was seen: each packet meets one or the
other. Others (libxdp) may be faster; then it begins again. After that nothing is taken from the old one until no packet
is in it any more: current kernels do not wait when a pin is removed.

A provisional change is a dispatcher whose configuration and pins say what was before. What changes is attached to
functions beside its slots (sharing/code.py: Trial), by links that only the holder has: however the holder ends, the
kernel takes just that back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import typing as t

from ..errors import FleetError
from ..kernel import rtnetlink
from ..libbpf import extensions, info, links
from ..libbpf.library import BpfError, Fd, Libbpf
from ..sharing import folders, made, version
from ..sharing.code import INSERT, REPLACE, SKIP, Trial, entry_of, slot_function, trial_function
from ..sharing.config import SLOTS, Config, Slot
from ..sharing.dispatcher import Component, Dispatcher, program_pin
from ..state import locks
from ..state.records import records
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
    change = _Change(place, ifindex, 0, (_duplicate(work, program), slot or Slot()))
    if mode == "generic":
        refuse_to_panic(place)
    work.undo(_undo, work, place, ifindex, _id_of(work, change), None, "native")
    try:
        in_force = _do(work, change, "native" if mode == "auto" else mode)
    except Rejected as native:
        if mode != "auto":
            raise
        refuse_to_panic(place, f"; it rejected native mode: {native.why}{native.remedy}")
        in_force = _do(work, change, "generic")
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
    old, mode = work.hold(work.lib.program_by_id(ours.program_id)), ours.mode or "native"
    change = _Change(place, ours.ifindex, ours.program_id, (_duplicate(work, program), slot or ours.component.slot))
    work.undo(_undo, work, place, ours.ifindex, _id_of(work, change), (old, ours.component.slot), mode)
    _do(work, change, mode)


def detach(work: Work, place: Place, _ifindex: int, ours: Attachment) -> None:
    """A new dispatcher without our program; none if it was the last one."""
    if not ours.component:
        return
    old, mode = work.hold(work.lib.program_by_id(ours.program_id)), ours.mode or "native"
    work.undo(_undo, work, place, ours.ifindex, 0, (old, ours.component.slot), mode)
    _do(work, _Change(place, ours.ifindex, ours.program_id, None), mode)


def _duplicate(work: Work, program: int) -> int:
    """The caller closes its own."""
    return work.hold(work.lib.program_by_id(info.program_info(work.lib, program).id))


def _id_of(work: Work, change: _Change) -> int:
    return info.program_info(work.lib, t.cast(Program, change.program)[0]).id


def _undo(work: Work, place: Place, ifindex: int, ours: int, program: t.Optional[Program], mode: str) -> None:
    """With `program` in the place of `ours`, or without it. Nothing to do if what was tried did not happen."""
    now = look(work.lib, ifindex)
    inside = {each.program.id: each.slot for each in now.components} if now else {}
    if program is None and ours not in inside:
        return
    if program and inside.get(info.program_info(work.lib, program[0]).id) == program[1]:
        return
    _repeat(work, _Change(place, ifindex, ours if ours in inside else 0, program), mode, undoing=True)


def look(lib: Libbpf, ifindex: int) -> t.Optional[Hook]:
    """The program on the interface; None without one. Raises FleetError if there are several."""
    found = hooks(lib, rtnetlink.interface(ifindex), Links(lib))
    if len(found) > 1:
        raise FleetError(f"interface {ifindex} runs {' and '.join(map(str, found))}: a dispatcher would not be alone")
    return found[0] if found else None


class _Change(t.NamedTuple):
    """`ours`: the id of our program that goes, 0: none; `program`: what comes, None: nothing."""

    place: Place
    ifindex: int
    ours: int
    program: t.Optional[Program]


class _Overtaken(Exception):
    """The program on the interface is not the one that was seen any more."""


class _Trial:
    """A provisional dispatcher, and the links to its functions that only this process has."""

    def __init__(self) -> None:
        self.dispatcher = 0
        self._links: t.List[int] = []

    def keep(self, link: Fd) -> None:
        self._links.append(link.number)

    def end(self) -> None:
        """At once, and it cannot fail: the dispatcher then does what its configuration says."""
        while self._links:
            os.close(self._links.pop())


def _do(work: Work, change: _Change, mode: str) -> str:
    """Now, or provisionally: then the dispatcher's configuration and pins say what was before, and the change runs only
    as long as this process lives and does not end it. Returns the mode in force.
    """
    if not work.provisional:
        return _repeat(work, change, mode)
    trial = _Trial()
    work.undo(_back, work, change, trial, mode)
    in_force = _repeat(work, change, mode, trial=trial)
    work.do_at_last(lambda: _confirm(work, change, trial, mode))
    return in_force


def _confirm(work: Work, change: _Change, trial: _Trial, mode: str) -> None:
    now = look(work.lib, change.ifindex)
    if now is None or now.program.id != trial.dispatcher:
        raise FleetError(f"somebody else has changed the dispatcher on {change.place.interface} meanwhile")
    _repeat(work, change, mode, expected=trial.dispatcher)
    trial.end()


def _back(work: Work, change: _Change, trial: _Trial, mode: str) -> None:
    trial.end()
    now = look(work.lib, change.ifindex)
    if now and now.program.id == trial.dispatcher:
        _repeat(work, change._replace(ours=0, program=None), mode, undoing=True)


def _repeat(
    work: Work,
    change: _Change,
    mode: str,
    undoing: bool = False,
    trial: t.Optional[_Trial] = None,
    expected: int = 0,
) -> str:
    """Until it is done: others may be faster. `mode` counts where there is no dispatcher; returns that in force.

    `expected`: the dispatcher that must be there, if it is not 0.
    """
    folders.make_root()
    place = change.place
    for number in range(TRIES):
        with _locked(work, undoing):
            try:
                return _replace(work, change, mode, trial, expected)
            except _Overtaken:
                pass
        time.sleep(0.001 * 2**number)
    raise FleetError(
        f"cannot change what runs on {place.interface} for {place.name}: in {TRIES} attempts, somebody else"
        " (xdp-loader, or a program that uses libxdp) was faster each time; run the task again when that has ended"
    )


@contextlib.contextmanager
def _locked(work: Work, undoing: bool) -> t.Iterator[None]:
    seconds = _UNDO_SECONDS if undoing else _LOCK_SECONDS
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.lock(locks.of_dispatchers(), seconds, work.warn))
        except FleetError:
            if not undoing:  # a rollback waits for nobody
                raise
        yield


def _replace(work: Work, change: _Change, mode: str, trial: t.Optional[_Trial], expected: int) -> str:
    lib, ifindex = work.lib, change.ifindex
    now = look(lib, ifindex)
    if expected and (now is None or now.program.id != expected):
        raise FleetError(f"somebody else has changed the dispatcher on {change.place.interface} meanwhile")
    there = _there(change.place, now)
    with contextlib.ExitStack() as held:
        base = _Base(held, change.place, ifindex, now.mode if now else mode, there)
        base = base._replace(old=held.enter_context(lib.program_by_id(now.program.id)) if now else -1)
        present = _present(lib, base)
        wanted = _wanted(lib, change, present)
        if now:
            folders.mark(ifindex, now.program.id)
        fresh = 0
        if trial:
            fresh = _put_new(work, base, present, _trials(change, present, wanted), trial)
            trial.dispatcher = fresh
        elif wanted:
            fresh = _put_new(work, base, wanted)
        elif now:
            _put(lib, ifindex, -1, base.old, now.mode)
        extensions.wait_for_running_programs(lib)
        if now:
            folders.unpin(ifindex, now.program.id)
        if fresh and not trial and not change.program and _is_others(wanted):
            folders.forget(ifindex, fresh)
    return base.mode


class _Base(t.NamedTuple):
    """What is on the interface: the dispatcher, None without one, and its fd, -1 without one. `held` is closed last."""

    held: contextlib.ExitStack
    place: Place
    ifindex: int
    mode: str
    there: t.Optional[Dispatcher]
    old: int = -1


Programs = t.Sequence[t.Tuple[int, Component]]  # with their fds, in the order in which they run


def _there(place: Place, now: t.Optional[Hook]) -> t.Optional[Dispatcher]:
    if now is None:
        return None
    if now.dispatcher is None or now.dispatcher.trouble:
        why = f": {now.dispatcher.trouble}" if now.dispatcher else ", which is no dispatcher"
        raise FleetError(f"cannot attach {place.name} to {place.interface} beside {now}{why}")
    return now.dispatcher


def _present(lib: Libbpf, base: _Base) -> Programs:
    found = []
    for number, each in enumerate(base.there.components if base.there else ()):
        found.append((base.held.enter_context(_pinned(lib, base, number)), each))
    return found


def _pinned(lib: Libbpf, base: _Base, number: int) -> t.ContextManager[int]:
    try:
        return lib.get(program_pin(base.ifindex, t.cast(Dispatcher, base.there).id, number))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            raise _Overtaken from error
        raise


def _wanted(lib: Libbpf, change: _Change, present: Programs) -> Programs:
    found = [(fd, each) for fd, each in present if each.program.id != change.ours]
    if change.program:
        fd, slot = change.program
        found.append((fd, Component(slot, info.program_info(lib, fd))))
    if len(found) > SLOTS:
        place = change.place
        raise FleetError(
            f"cannot attach {place.name} to {place.interface}: its dispatcher has {SLOTS} programs, which is the most;"
            f" `xdp-loader status {place.interface}` lists them"
        )
    return sorted(found, key=lambda each: each[1].order)


def _trials(change: _Change, present: Programs, wanted: Programs) -> t.List[t.Tuple[Trial, int]]:
    """What is to run beside what is `present`, or in the place of it, so that it becomes what is wanted; with fds, -1:
    of a program that only skips.
    """
    ids = [each.program.id for _fd, each in present]
    at = ids.index(change.ours) if change.ours in ids else None
    if change.program is None:
        return [] if at is None else [(Trial(SKIP, at), -1)]
    fd, slot = change.program
    stays = [each.program.id for _fd, each in wanted if each.program.id in ids or each.program.id == change.ours]
    new = next(number for number, each in enumerate(wanted) if each[0] == fd)
    before = sum(1 for each in wanted[:new] if each[1].program.id in stays)
    if at is None:
        return [(Trial(INSERT, before, slot), fd)]
    if before == at:
        return [(Trial(REPLACE, at, slot), fd)]
    # It moves. Two links end one after the other, so for a moment it may run twice, or not at all.
    return [(Trial(SKIP, at), -1), (Trial(INSERT, before + (before > at), slot), fd)]


def _is_others(wanted: Programs) -> bool:
    """Whether nothing that this collection deployed is left in a dispatcher."""
    ours = {each.program_id for each in records()}
    return not any(each.program.id in ours for _fd, each in wanted)


def _put_new(
    work: Work,
    base: _Base,
    programs: Programs,
    trials: t.Sequence[t.Tuple[Trial, int]] = (),
    trial: t.Optional[_Trial] = None,
) -> int:
    """Make the dispatcher, pin it and put it on the interface. Returns its id."""
    lib, place = work.lib, base.place
    slots = tuple(component.slot for _fd, component in programs)
    every = [*slots, *(each.slot for each, fd in trials if fd >= 0)]
    frags = bool(every) and all(slot.frags for slot in every)
    config = Config(base.there.version if base.there else version.of_this_host(), slots, frags)
    new = made.make(lib, base.held.enter_context, config, [each for each, _fd in trials])
    pinned = []
    for number, (fd, component) in enumerate(programs):
        function = slot_function(number) if trial else entry_of(number, len(programs))
        link = base.held.enter_context(_link(lib, place, new, fd, function, str(component)))
        pinned.append((fd, link))
    try:
        for number, (_each, fd) in enumerate(trials):
            function = trial_function(number)
            program = fd if fd >= 0 else made.skipping(lib, base.held.enter_context, new, function)
            t.cast(_Trial, trial).keep(_link(lib, place, new, program, function, place.name))
        folders.pin(lib, base.ifindex, new.id, pinned)
        _put(lib, base.ifindex, new.fd, base.old, base.mode)
    except BaseException as error:
        if trial:
            trial.end()
        folders.unpin(base.ifindex, new.id)
        if not isinstance(error, BpfError) or error.errno in (errno.EPERM, errno.ENODEV):
            raise
        from .refusal import refusal  # here: a target compiles what it imports, and rarely needs this

        why = refusal(lib, place.interface, base.ifindex, new.fd, base.mode, error)
        raise Rejected(place, base.mode, *why, by="dispatcher") from error
    return new.id


def _link(lib: Libbpf, place: Place, new: made.Made, fd: int, function: str, what: str) -> Fd:
    try:
        return extensions.attach(lib, fd, new.fd, new.functions[function])
    except BpfError as error:
        raise FleetError(
            f"cannot attach {place.name} to {place.interface}: the kernel does not put {what} into a new dispatcher:"
            f" {error.strerror}"
        ) from error


def _put(lib: Libbpf, ifindex: int, program: int, old: int, mode: str) -> None:
    """-1 for `program`: none; for `old`: there is none. Raises _Overtaken if it is not the one that is there."""
    try:
        links.netlink_replace(lib, ifindex, program, old, mode)
    except BpfError as error:
        if error.errno in _CHANGED and _is_another(lib, ifindex, old):
            raise _Overtaken from error
        raise


def _is_another(lib: Libbpf, ifindex: int, old: int) -> bool:
    interface = rtnetlink.interface(ifindex)
    expected = {info.program_info(lib, old).id} if old >= 0 else set()
    return interface is None or set(interface.xdp.values()) != expected


def sweep(lib: Libbpf) -> None:
    """Remove what killed runs left: pins of dispatchers that are on no interface, and dispatchers without programs."""
    for ifindex, dispatcher in folders.attached():
        with contextlib.suppress(BpfError, FleetError, _Overtaken):  # it is changed meanwhile: then it is somebody's
            now = look(lib, ifindex)
            if (
                now
                and now.program.id == dispatcher
                and now.dispatcher
                and not (now.components or now.dispatcher.trouble)
            ):
                with lib.program_by_id(dispatcher) as old:
                    _put(lib, ifindex, -1, old, now.mode)
    found = folders.left_over()
    if found:
        extensions.wait_for_running_programs(lib)
        for ifindex, dispatcher in found:
            folders.unpin(ifindex, dispatcher)

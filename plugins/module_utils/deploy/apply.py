# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The third step: apply the plan. Each step has an undo."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..attach import ways
from ..attach.evict import evict
from ..attach.work import Work
from ..entry import message_of
from ..errors import FleetError
from ..kernel import rtnetlink
from ..libbpf import info
from ..libbpf.library import BpfError, Libbpf
from ..libbpf.objects import Object, open_object
from ..objects.image import Image
from ..state.places import unescape
from ..state.private_files import remove_folders, remove_unfinished
from ..state.records import Record, write_record
from . import steps
from .observe import Seen
from .planned import Plan

if t.TYPE_CHECKING:
    from ..state.replacing import ReplacedFile
    from .declared import InSlot

_LARGEST_FIRST = 4096  # bytes of a section that a record contains
_WITHHELD = ("unknown func", "cannot use helper")  # the verifier's words about a helper, also if a lockdown forbids it


class Applier:
    """Applies plans; all programs are loaded before anything changes. A context manager.

    It holds the old programs and links until it ends, so that they can be restored. In a provisional change, only
    keep() pins new links and changes what is restored after a reboot.
    """

    def __init__(
        self,
        lib: Libbpf,
        image: Image,
        warn: t.Callable[[str], None],
        runner: t.Optional[t.Callable[[], bytes]] = None,
        unsafe: bool = False,
    ) -> None:
        self.work = Work(lib, warn, unsafe)
        self._lib = lib
        self._image = image
        self._runner = runner
        self._objects: t.Dict[str, Object] = {}
        self._first: t.Dict[str, t.Mapping[str, str]] = {}  # as in records, by interface
        self._rewritten: t.List[str] = []  # interfaces whose units systemd must reload

    def __enter__(self) -> Applier:
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self.work.__exit__(*exception)

    def prepare(self, plan: Plan) -> None:
        """Load the program, which the verifier may reject; this pins and attaches nothing."""
        for step in plan.steps:
            if isinstance(step, steps.Load):
                self._objects[plan.seen.interface] = self._load(plan, step)
            elif isinstance(step, steps.Persist):
                self._runner_now()  # read now: the module's own file is gone when a holder writes the runner

    def _runner_now(self) -> bytes:
        return t.cast(t.Callable[[], bytes], self._runner)()  # without a runner, no plan concerns reboots

    def replace(self, file: ReplacedFile) -> None:
        """Write a file; undone with the rest."""
        self.work.undo(file.restore)
        file.write()

    def together(self) -> t.ContextManager[None]:
        """What is committed within this is undone as a whole if a part of it fails."""
        return self.work.part(str)

    def commit(self, plan: Plan) -> None:
        """Carry out the steps. If one fails, undoes those of this interface and raises FleetError."""
        step: t.Any = None
        with self.work.part(lambda error: self._words(error, step, plan)):
            self.work.undo(remove_folders, plan.seen.place)
            for step in _pinned_when_filled(plan.steps):
                getattr(self, f"_do_{type(step).__name__}")(plan.seen, step)

    def _words(self, error: BaseException, step: t.Any, plan: Plan) -> str:
        words = str(error)
        if isinstance(error, OSError):
            words = f"cannot {step} for {plan.seen.place.name} on {plan.seen.interface}: {message_of(error)}"
        return "; ".join([words, *self.work.notes])

    def roll_back(self) -> None:
        """Undo all that was committed, the last change first. Raises FleetError if that fails."""
        self.work.roll_back()

    def finish(self) -> None:
        """Done once, when all is committed. Raises FleetError if it fails; then the caller must roll back."""
        if self._rewritten:
            from ..persist.persistence import reload_units

            reload_units(self._rewritten)

    def keep(self) -> None:
        """Make the change final. Raises OSError or FleetError; no link is lost, and the caller must roll back."""
        self.work.keep()
        self.finish()

    # The steps

    def _load(self, plan: Plan, step: steps.Load) -> Object:
        facts, seen = self._image.facts, plan.seen
        try:
            loaded = self.work.hold(open_object(self._lib, self._image.content, facts.name))
            reuse = {
                facts.shared_maps[pin].name: self.work.hold(self._lib.map_by_id(number))
                for pin, number in step.reuse.items()
            }
            self._first[seen.interface] = _first_values(self._image)
            begin = dict(step.begin)
            for each in step.settings:
                begin[each.pin] = each.put(begin.get(each.pin) or self._image.first_value(each.pin))
            for pin, value in begin.items():
                loaded.begin_with(facts.all_maps[pin].name, value)
            for name, entries in step.sizes.items():
                loaded.resize(name, entries)
            if step.shared:
                from ..sharing.made import template

                made = template(self._lib, self.work.hold, facts.takes_frags(step.program))
                loaded.take_the_place_of(step.program, made.fd, "prog0")
            loaded.load(facts.loaded_with(step.program), reuse, seen.ifindex if step.offload else 0)
        except BpfError as error:
            why = _refused_extension(error) if step.shared and error.errno == errno.EPERM else _rejection(error)
            raise FleetError(f"cannot load {step.program} of {facts.path} for {seen.interface}: {why}") from error
        return loaded

    def _do_Move(self, seen: Seen, step: steps.Move) -> None:
        for old, new in ((step.former.record, seen.place.record), (step.former.folder, seen.place.folder)):
            if os.path.lexists(old):  # the pins last: with them, the next run finds what a killed one left
                self._move(old, new)
                self.work.undo(self._move, new, old)
        remove_folders(step.former)
        remove_unfinished(step.former.record)

    def _move(self, old: str, new: str) -> None:
        self.work.make_folder(os.path.dirname(new))
        os.rename(old, new)

    def _do_Load(self, seen: Seen, step: steps.Load) -> None:
        loaded, place = self._objects[seen.interface], seen.place
        for pin, bpf_map in self._image.facts.shared_maps.items():
            if pin in step.fresh or step.reuse[pin] != (pin in seen.maps and seen.maps[pin].id):
                self.work.pin(loaded.map_fd(bpf_map.name), place.map(pin))
        self.work.pin(loaded.program_fd(step.program), place.program)

    def _do_SetVariables(self, seen: Seen, step: steps.SetVariables) -> None:
        from ..libbpf import maps  # observing has imported it already

        fd = self.work.hold(self._lib.map_by_id(step.map_id))
        content = maps.lookup(self._lib, fd, bytes(4), step.size)
        # The running program may have changed one since it was observed. What the task says holds all the same.
        values = [each for each in step.values if step.declared or content[each.offset :].startswith(each.before)]
        before = {each.offset: content[each.offset : each.offset + len(each.before)] for each in values}
        self.work.undo(maps.store, fd, step.size, before)
        maps.store(fd, step.size, {each.offset: each.after for each in values})

    def _do_CopyEntries(self, seen: Seen, step: steps.CopyEntries) -> None:
        from ..libbpf.elements import Elements

        new = self._new_map(seen, step.pin)
        with self._lib.map_by_id(step.map_id) as old:
            new_elements = Elements(self._lib, new, info.map_info(self._lib, new).shape)
            for portion in Elements(self._lib, old, info.map_info(self._lib, old).shape).read():
                new_elements.update(portion)

    def _do_Fill(self, seen: Seen, step: steps.Fill) -> None:
        from ..entries import writing  # observing has imported it already
        from ..libbpf.elements import Elements

        if step.slot and step.fresh:
            self._fill_slot(seen, step, step.slot)
            return
        if step.slot:
            fd = self._in_slot(self._outer(seen, step.slot), step.slot)
        else:
            fd = self._new_map(seen, step.pin) if step.fresh else self._pinned_map(seen, step.pin)
        shape = info.map_info(self._lib, fd).shape
        elements = Elements(self._lib, fd, shape)
        if not step.fresh:
            self.work.undo(writing.undo, elements, step.made)
        writing.write(str(step.slot or unescape(step.pin)), elements, shape, step.made)

    def _fill_slot(self, seen: Seen, step: steps.Fill, slot: InSlot) -> None:
        from .slots import OpenSlot, swap_in  # observing has imported it already

        outer, loaded = self._outer(seen, slot), self._objects.get(seen.interface)
        there = self._in_slot(outer, slot)
        if there >= 0:
            like = info.map_info(self._lib, there)
        else:
            running = seen.running.btf_id if seen.running else 0
            like = slot.like._replace(btf_id=loaded.btf_id() if loaded else running)
        swap_in(self._lib, OpenSlot(str(slot), outer, slot.key, there, like), step.made, self.work.undo)

    def _outer(self, seen: Seen, slot: InSlot) -> int:
        if seen.interface in self._objects:
            return self._new_map(seen, slot.outer)  # or the one that it reuses, which may not be pinned yet
        return self._pinned_map(seen, slot.outer)

    def _in_slot(self, outer: int, slot: InSlot) -> int:
        """The map that is there; -1 if there is none."""
        from ..libbpf.slots import id_in  # observing has imported it already

        number = id_in(self._lib, outer, slot.key)
        return self.work.hold(self._lib.map_by_id(number)) if number else -1

    def _pinned_map(self, seen: Seen, pin: str) -> int:
        return self.work.hold(self._lib.get(seen.place.map(pin)))

    def _new_map(self, seen: Seen, pin: str) -> int:
        return self._objects[seen.interface].map_fd(self._image.facts.shared_maps[pin].name)

    def _do_PinProgram(self, seen: Seen, step: steps.PinProgram) -> None:
        with self._lib.program_by_id(step.program_id) as fd:
            self.work.pin(fd, seen.place.program)

    def _do_PinMap(self, seen: Seen, step: steps.PinMap) -> None:
        with self._lib.map_by_id(step.map_id) as fd:
            self.work.pin(fd, seen.place.map(step.pin))

    def _do_Adopt(self, seen: Seen, step: steps.Adopt) -> None:
        ways.way(step.by).adopt(self.work, seen.place, step.hook)

    def _do_Evict(self, seen: Seen, step: steps.Evict) -> None:
        evict(self.work, seen.interface, seen.ifindex, step.hook)

    def _do_Attach(self, seen: Seen, step: steps.Attach) -> None:
        with self._lib.get(seen.place.program) as program:
            ways.way(step.by).attach(self.work, seen.place, seen.ifindex, program, step.mode, step.slot)

    def _do_Swap(self, seen: Seen, step: steps.Swap) -> None:
        program = self.work.hold(self._lib.get(seen.place.program))
        ways.way(step.by).swap(self.work, seen.place, step.ours, program, step.slot)

    def _do_Detach(self, seen: Seen, step: steps.Detach) -> None:
        ours = step.attachment
        if step.again and ours.mode:
            from ..attach.stacked import check_uncovered

            check_uncovered(self._lib, seen.place, seen.ifindex, ours)
        uncovered = contextlib.ExitStack()
        self.work.undo(uncovered.close)
        ways.way(ours.by).detach(self.work, seen.place, seen.ifindex, ours)
        if ours.mode:
            self.work.undo(self._uncover, seen, uncovered)

    def _uncover(self, seen: Seen, until: contextlib.ExitStack) -> None:
        """Before an undo attaches to an interface: detach our programs above it, which may be of other tasks."""
        from ..attach.stacked import uncovered

        until.enter_context(uncovered(self.work, seen.place, seen.ifindex))

    def _do_Lift(self, seen: Seen, step: steps.Lift) -> None:
        from ..attach.stacked import lift

        lift(self.work, seen.place, seen.ifindex, step.attachment)

    def _do_PutBack(self, seen: Seen, step: steps.PutBack) -> None:
        from ..attach.stacked import put_back

        put_back(self.work, seen.place, seen.ifindex, step.attachment)

    def _do_Unpin(self, seen: Seen, step: steps.Unpin) -> None:
        self._do_or_wait(seen, lambda: self.work.unpin(step.path))

    def _do_Note(self, seen: Seen, step: steps.Note) -> None:
        record = None
        if step.deployed:
            number, first = step.program_id, seen.record.first if seen.record else {}
            if not number:
                loaded = self._objects[seen.interface].program_fd(step.deployed.program)
                number, first = info.program_info(self._lib, loaded).id, self._first[seen.interface]
            running = seen.ours.program_id if seen.ours and seen.ours.dispatcher else 0
            record = Record(step.deployed, number, first, running if running != number else 0)

        def note() -> None:
            write_record(seen.place, record)
            if not record:
                remove_folders(seen.place)
            self.work.undo(write_record, seen.place, seen.record)

        self._do_or_wait(seen, note, bool(record))

    def _do_or_wait(self, seen: Seen, do: t.Callable[[], None], now: bool = False) -> None:
        """In a dispatcher, a program that was provisionally removed is back when the holder ends: it must be known."""
        if seen.ours and seen.ours.dispatcher and not now:
            self.work.do_at_last(do)
        else:
            do()

    def _do_Persist(self, seen: Seen, step: steps.Persist) -> None:
        from ..persist.manifests import packed

        def persist() -> None:
            now = rtnetlink.interface(seen.ifindex)
            generic = bool(now and "generic" in now.xdp)
            self._write_manifest(seen, packed(step.manifest._replace(generic=generic), self._image.content))

        self.work.do_at_last(persist)

    def _do_Keep(self, seen: Seen, step: steps.Keep) -> None:
        from ..persist.lists import read_list, write_list

        def keep() -> None:
            self.work.undo(write_list, seen.place, step.pin, read_list(seen.place, step.pin))
            write_list(seen.place, step.pin, step.entries)

        self.work.do_at_last(keep)

    def _do_Forget(self, seen: Seen, step: steps.Forget) -> None:
        self.work.do_at_last(lambda: self._write_manifest(seen, None))

    # Observing has imported these modules already: a holder outlives the file that contains them.

    def _write_manifest(self, seen: Seen, content: t.Optional[bytes]) -> None:
        from ..persist.lists import lists_as_they_are, put_back
        from ..persist.persistence import reload_units, write_manifest
        from ..state.files import read_file

        if not self._rewritten:
            self.work.undo(reload_units, self._rewritten)
        self._rewritten.append(seen.interface)
        self.work.undo(write_manifest, seen.place, read_file(seen.place.manifest), self._runner_now)
        if content is None:  # lists go with their manifest
            self.work.undo(put_back, lists_as_they_are(seen.place))
        write_manifest(seen.place, content, self._runner_now)


def _refused_extension(error: BpfError) -> str:
    from ..sharing.made import words

    return words(error)


def _pinned_when_filled(planned: t.Iterable[steps.Step]) -> t.List[steps.Step]:
    """New maps are filled before they are pinned: to the next run, what a killed one has pinned is all there was."""
    found = list(planned)
    at = next((number for number, step in enumerate(found) if isinstance(step, steps.Load)), len(found))
    return [*found[:at], *sorted(found[at:], key=lambda step: not _fills_new_map(step))]


def _fills_new_map(step: steps.Step) -> bool:
    return isinstance(step, steps.CopyEntries) or (isinstance(step, steps.Fill) and step.fresh)


def _first_values(image: Image) -> t.Dict[str, str]:
    """The sections of global data that begin with more than zeros, as records have them."""
    found = {pin: image.first_value(pin) for pin in image.facts.shared_maps}
    return {pin: value.hex() for pin, value in found.items() if any(value) and len(value) <= _LARGEST_FIRST}


def _rejection(error: BpfError, lines: int = 12) -> str:
    """The kernel's words, with the end of the verifier's log, which says why."""
    log = "\n".join(error.log.splitlines()[-lines:])
    words = "; ".join(filter(None, [error.strerror, _remedy(error)]))
    return f"{words}. The end of the kernel's log:\n{log}" if log else words


def _remedy(error: BpfError) -> str:
    """ "" if nothing is known."""
    withheld = any(words in error.log for words in _WITHHELD)
    if error.errno != errno.EPERM and not withheld:
        return ""
    from ..kernel import remedies  # here: a target compiles what it imports, and rarely needs this

    return remedies.locked_down() if withheld else remedies.not_permitted()

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The third step: do what the plan says. Each step knows how to be taken back."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import typing as t

from . import boot, rtnetlink
from . import plan as planning
from .errors import FleetError
from .files import ReplacedFile, read_file
from .image import Image
from .kernel_functions import kernel_has
from .libbpf import BpfError, Libbpf, links
from .libbpf.objects import Object, open_object
from .observe import Seen
from .pins import NEW
from .private_files import make_folder, remove, remove_folders, write_record
from .records import Record

BUSY_SECONDS = 2.0
BUSY_ERRORS = (errno.EBUSY, errno.EEXIST)


class Applier:
    """Applies plans, all of them loaded before the first one changes anything.

    A context manager: it holds the old programs and links until it ends, so that they can be put back.
    With `provisional`, new links are pinned only by keep(): until then nobody but this process holds them. Nor does
    what is brought back after a reboot change before.
    """

    def __init__(self, lib: Libbpf, name: str, image: Image, warn: t.Callable[[str], None]) -> None:
        self.lib = lib
        self.name = name
        self.image = image
        self.warn = warn
        self.provisional = False
        self._unpinned: t.List[t.Tuple[int, str]] = []
        self._at_last: t.List[t.Callable[[], None]] = []
        self._rewritten: t.List[str] = []
        self._held = contextlib.ExitStack()
        self._undo = contextlib.ExitStack()
        self._objects: t.Dict[str, Object] = {}
        self._detached_anothers_link = False

    def __enter__(self) -> Applier:
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._held.close()

    def prepare(self, plan: planning.Plan) -> None:
        """Load the program, which the verifier may refuse; nothing is pinned or attached by it."""
        for step in plan.steps:
            if isinstance(step, planning.Load):
                self._objects[plan.seen.interface] = self._load(plan, step)
            elif isinstance(step, planning.Persist):
                boot.runner()  # now: a holder writes it when the file that the module came in is gone

    def replace(self, file: ReplacedFile) -> None:
        """Write a file; taken back with all the rest."""
        self._undo.callback(file.put_back)
        file.write()

    def commit(self, plan: planning.Plan) -> None:
        """Do the steps. Where one fails, those of this interface are taken back, and FleetError raised."""
        before = self._undo
        self._undo = contextlib.ExitStack()
        self._undo.callback(remove_folders, plan.seen.place)
        step: t.Any = None
        try:
            for step in plan.steps:
                getattr(self, f"_do_{type(step).__name__}")(plan.seen, step)
        except BaseException as error:
            undo, self._undo = self._undo, before
            words = self._words(error, step, plan)
            _close(undo, words)
            if isinstance(error, (OSError, FleetError)):
                raise FleetError(words) from error
            raise
        done, self._undo = self._undo, before
        self._undo.push(done)

    def _words(self, error: BaseException, step: t.Any, plan: planning.Plan) -> str:
        words = str(error)
        if isinstance(error, OSError):
            words = f"cannot {step} for {self.name} on {plan.seen.interface}: {error.strerror}"
        if self._detached_anothers_link:
            words += "; the other's program was put back, but attached by netlink, as its link cannot be made again"
        return words

    def take_back(self, why: str = "an interface failed, and all were to be put back") -> None:
        """Undo all that was committed, the last first. Raises FleetError if that cannot be done."""
        _close(self._undo, why)

    def finish(self) -> None:
        """What is done once, when all is committed. Raises FleetError where that fails, and all is to be taken back."""
        if self._rewritten:
            boot.tell_systemd(self._rewritten)

    def keep(self) -> None:
        """Make what is provisional last.

        Raises OSError or FleetError where that fails, with no link lost, and all to be taken back.
        """
        for link, path in self._unpinned:
            self._replace_pin(link, path)
        for do in self._at_last:
            do()
        self.finish()

    # The steps

    def _load(self, plan: planning.Plan, step: planning.Load) -> Object:
        facts, seen = self.image.facts, plan.seen
        try:
            loaded = self._held.enter_context(open_object(self.lib, self.image.content, facts.name))
            reuse = {
                facts.shared_maps[pin].name: self._held.enter_context(self.lib.map_by_id(number))
                for pin, number in step.reuse.items()
            }
            loaded.load(facts.loaded_with(step.program), reuse, seen.ifindex if step.offload else 0)
        except BpfError as error:
            raise FleetError(
                f"cannot load {step.program} of {facts.path} for {seen.interface}: {_refusal(error)}"
            ) from error
        return loaded

    def _pin(self, fd: int, path: str) -> None:
        """Pin, in the place of what is there."""
        try:
            old = self._held.enter_context(self.lib.get(path))
        except BpfError as error:
            if error.errno != errno.ENOENT:
                raise
            self._undo.callback(remove, path)
        else:
            self._undo.callback(self._replace_pin, old, path)
        self._replace_pin(fd, path)

    def _replace_pin(self, fd: int, path: str) -> None:
        """Pin under a name of its own first, then rename: at no time is there no pin."""
        make_folder(os.path.dirname(path))
        remove(path + NEW)
        self.lib.pin(fd, path + NEW)
        os.rename(path + NEW, path)

    def _do_Load(self, seen: Seen, step: planning.Load) -> None:
        loaded, place = self._objects[seen.interface], seen.place
        for pin, bpf_map in self.image.facts.shared_maps.items():
            if pin in step.fresh or step.reuse[pin] != (pin in seen.maps and seen.maps[pin].id):
                self._pin(loaded.map_fd(bpf_map.name), place.map(pin))
        self._pin(loaded.program_fd(step.program), place.program)

    def _do_PinProgram(self, seen: Seen, step: planning.PinProgram) -> None:
        with self.lib.program_by_id(step.program_id) as fd:
            self._pin(fd, seen.place.program)

    def _do_PinMap(self, seen: Seen, step: planning.PinMap) -> None:
        with self.lib.map_by_id(step.map_id) as fd:
            self._pin(fd, seen.place.map(step.pin))

    def _do_PinLink(self, seen: Seen, step: planning.PinLink) -> None:
        with self.lib.link_by_id(step.link_id) as fd:
            self._pin(fd, seen.place.link)

    def _do_Evict(self, seen: Seen, step: planning.Evict) -> None:
        hook = step.hook
        program = self._held.enter_context(self.lib.program_by_id(hook.program.id))
        try:
            links.netlink_replace(self.lib, seen.ifindex, -1, program, hook.mode)
        except BpfError as error:
            if error.errno != errno.EBUSY:  # EBUSY: it is held by a link
                raise
            if hook.link_id is None:
                raise FleetError(
                    f"cannot take {hook} off {seen.interface}: it is held by a link, and the kernel does not tell"
                    f" which; detach it by hand with `bpftool link detach id ID`"
                ) from error
            with self.lib.link_by_id(hook.link_id) as link:
                links.detach(self.lib, link)
            self._detached_anothers_link = True
        self._undo.callback(links.netlink_replace, self.lib, seen.ifindex, program, -1, hook.mode)

    def _do_Swap(self, seen: Seen, step: planning.Swap) -> None:
        hold = self._held.enter_context
        link = hold(self.lib.get(seen.place.link))
        old = hold(self.lib.program_by_id(self.lib.link_info(link).program_id))
        new = hold(self.lib.get(seen.place.program))
        links.update(self.lib, link, new, old)
        self._undo.callback(links.update, self.lib, link, old, new)

    def _do_Detach(self, seen: Seen, step: planning.Detach) -> None:
        """Detach first: after an unpin alone the kernel frees the hook in its own time."""
        old = self._held.enter_context(self.lib.program_by_id(step.program_id))
        with self.lib.get(seen.place.link) as link:
            links.detach(self.lib, link)
        if step.mode:
            self._undo.callback(self._attach_again, seen, old, step.mode)
        os.unlink(seen.place.link)

    def _do_DropLink(self, seen: Seen, step: planning.DropLink) -> None:
        remove(seen.place.link)

    def _do_Attach(self, seen: Seen, step: planning.Attach) -> None:
        with self.lib.get(seen.place.program) as program:
            if step.mode != "auto":
                self._attach(seen, program, step.mode)
                return
            try:
                self._attach(seen, program, "native")
            except BpfError as error:
                if error.errno in BUSY_ERRORS:
                    raise
                self._attach(seen, program, "generic")
                self.warn(
                    f"{seen.interface} does not take {self.name} in native mode ({error.strerror}),"
                    f" so it is attached in generic mode, which is slower;"
                    f" set mode: generic to say that this is wanted"
                )

    def _attach(self, seen: Seen, program: int, mode: str) -> None:
        link = self._link(seen, program, mode)
        self._undo.callback(remove, seen.place.link)
        self._undo.callback(links.detach, self.lib, link)
        if self.provisional:
            self._unpinned.append((link, seen.place.link))
            self._undo.callback(self._unpinned.remove, (link, seen.place.link))
        else:
            self._replace_pin(link, seen.place.link)

    def _attach_again(self, seen: Seen, program: int, mode: str) -> None:
        self._replace_pin(self._link(seen, program, mode), seen.place.link)

    def _link(self, seen: Seen, program: int, mode: str) -> int:
        """Make a link; returns its fd, which is held until the end."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._held.enter_context(links.create(self.lib, program, seen.ifindex, mode))
            except BpfError as error:
                if error.errno == errno.EINVAL and not kernel_has("bpf_xdp_link_attach"):
                    raise FleetError(
                        f"cannot attach {self.name} to {seen.interface}: the kernel {os.uname().release} has no"
                        f" BPF link for XDP, which came with 5.9; take a newer kernel"
                    ) from error
                # A link that was just unpinned leaves the hook a moment later.
                if error.errno not in BUSY_ERRORS or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _do_Unpin(self, seen: Seen, step: planning.Unpin) -> None:
        if not step.path.endswith(NEW):
            old = self._held.enter_context(self.lib.get(step.path))
            self._undo.callback(self._replace_pin, old, step.path)
        remove(step.path)

    def _do_Note(self, seen: Seen, step: planning.Note) -> None:
        record = None
        if step.program:
            number = step.program_id
            if not number:
                number = self.lib.program_info(self._objects[seen.interface].program_fd(step.program)).id
            facts = self.image.facts
            record = Record(facts.path, facts.checksum or "", step.program, step.mode, number)
        write_record(seen.place, record)
        if not record:
            remove_folders(seen.place)
        self._undo.callback(write_record, seen.place, seen.record)

    def _do_Persist(self, seen: Seen, step: planning.Persist) -> None:
        def persist() -> None:
            now = rtnetlink.interface(seen.ifindex)
            generic = bool(now and "generic" in now.xdp)
            self._write_manifest(seen, boot.packed(step.manifest._replace(generic=generic), self.image.content))

        self._make_last(persist)

    def _do_Forget(self, seen: Seen, step: planning.Forget) -> None:
        self._make_last(lambda: self._write_manifest(seen, None))

    def _make_last(self, do: t.Callable[[], None]) -> None:
        if self.provisional:
            self._at_last.append(do)
        else:
            do()

    def _write_manifest(self, seen: Seen, content: t.Optional[bytes]) -> None:
        if not self._rewritten:
            self._undo.callback(boot.tell_systemd, self._rewritten)
        self._rewritten.append(seen.interface)
        self._undo.callback(boot.write_manifest, seen.place, read_file(seen.place.manifest))
        boot.write_manifest(seen.place, content)


def _close(undo: contextlib.ExitStack, words: str) -> None:
    try:
        undo.close()
    except (OSError, FleetError) as error:
        raise FleetError(f"{words}; and it could not be put back as it was: {error}; run again to mend that") from error


def _refusal(error: BpfError, lines: int = 12) -> str:
    """The kernel's words, with the end of the verifier's log, where it says why."""
    log = "\n".join(error.log.splitlines()[-lines:])
    remedy = ""
    if error.errno == errno.EPERM:
        remedy = "; run as root with CAP_BPF and CAP_NET_ADMIN (become: true; in a container, --privileged)"
    if not log:
        return f"{error.strerror}{remedy}"
    return f"{error.strerror}{remedy}. The end of the kernel's log:\n{log}"

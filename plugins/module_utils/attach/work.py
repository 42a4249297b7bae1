# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to pins and interfaces that can be undone."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..errors import FleetError, said
from ..libbpf.library import BpfError, Libbpf
from ..state.places import NEW
from ..state.private_files import make_folder, remove
from ..state.trusted import check_trusted

T = t.TypeVar("T")


class Work:
    """Holds what it replaces until it ends, and an undo for each change; a context manager.

    `notes` tell users where an undo does not restore everything. With `provisional`, pin_at_last() pins only in
    keep(): until then only this process holds the link. `unsafe`: pin where other users can change the pins.
    """

    def __init__(self, lib: Libbpf, warn: t.Callable[[str], None], unsafe: bool) -> None:
        self.lib = lib
        self.warn = warn
        self.unsafe = unsafe
        self.provisional = False
        self.notes: t.List[str] = []
        self._held = contextlib.ExitStack()
        self._undo = contextlib.ExitStack()
        self._to_pin: t.List[t.Tuple[int, str]] = []
        self._to_do: t.List[t.Callable[[], None]] = []

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._held.close()

    def hold(self, opened: t.ContextManager[T]) -> T:
        """Keep something open until the end."""
        return self._held.enter_context(opened)

    def undo(self, callback: t.Callable[..., t.Any], *arguments: t.Any) -> None:
        """Register what reverses the change just made, or about to be made."""
        self._undo.callback(callback, *arguments)

    @contextlib.contextmanager
    def part(self, words: t.Callable[[BaseException], str]) -> t.Iterator[None]:
        """Changes within this are undone at once if one of them fails, and otherwise together with the rest.

        Raises FleetError with what `words` returns for the error.
        """
        before, self._undo = self._undo, contextlib.ExitStack()
        try:
            yield
        except BaseException as error:
            part, self._undo = self._undo, before
            text = words(error)
            _close(part, f"{text}, and the rollback failed")
            if isinstance(error, (OSError, FleetError)):
                raise FleetError(text) from error
            raise
        part, self._undo = self._undo, before
        self._undo.push(part)

    def roll_back(self) -> None:
        """Undo everything, the last change first. Raises FleetError where that fails."""
        _close(self._undo, "the rollback failed")

    def pin(self, fd: int, path: str) -> None:
        """Pin, and replace what is pinned there."""
        try:
            old = self.hold(self.lib.get(path))
        except BpfError as error:
            if error.errno != errno.ENOENT:
                raise
            self.undo(remove, path)
        else:
            self.undo(self.replace_pin, old, path)
        self.replace_pin(fd, path)

    def unpin(self, path: str) -> None:
        if not path.endswith(NEW):
            self.undo(self.replace_pin, self.hold(self.lib.get(path)), path)
        remove(path)

    def replace_pin(self, fd: int, path: str) -> None:
        """Pin under a temporary name, then rename: there is a pin at all times."""
        self.make_folder(os.path.dirname(path))
        remove(path + NEW)
        self.lib.pin(fd, path + NEW)
        os.rename(path + NEW, path)

    def make_folder(self, path: str) -> None:
        """For pins. Other users may have been faster, so it is checked afterwards. Raises FleetError."""
        make_folder(path)
        if not self.unsafe:
            check_trusted(path, "to pin in")

    def pin_at_last(self, fd: int, path: str) -> None:
        """Pin now, or in keep() if the change is provisional."""
        if self.provisional:
            self._to_pin.append((fd, path))
            self.undo(self._to_pin.remove, (fd, path))
        else:
            self.replace_pin(fd, path)

    @contextlib.contextmanager
    def settled(self) -> t.Iterator[None]:
        """What is done within this was so before: it is not provisional, and no news. It is undone like the rest."""
        before = self.provisional, self.warn
        self.provisional, self.warn = False, lambda _warning: None
        try:
            yield
        finally:
            self.provisional, self.warn = before

    def do_at_last(self, do: t.Callable[[], None]) -> None:
        """Call it now, or in keep() if the change is provisional."""
        if self.provisional:
            self._to_do.append(do)
        else:
            do()

    def keep(self) -> None:
        """Pin and do what had to wait. Raises OSError or FleetError; no link is lost, and the caller must roll back."""
        for fd, path in self._to_pin:
            self.replace_pin(fd, path)
        for do in self._to_do:
            do()


def _close(undo: contextlib.ExitStack, words: str) -> None:
    try:
        undo.close()
    except (OSError, FleetError) as error:
        raise FleetError(f"{words}: {said(error)}. Run the task again to repair the host") from error

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to pins and interfaces that can be undone."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..errors import FleetError
from ..libbpf.library import BpfError, Libbpf
from ..state.places import NEW
from ..state.private_files import make_folder, remove

T = t.TypeVar("T")


class Work:
    """Holds what it replaces until it ends, and an undo for each thing done; a context manager.

    `notes` are what a user must know of an undo that does not restore everything. With `provisional`, what is pinned by
    pin_at_last() gets its pin only in keep(): until then only this process holds it.
    """

    def __init__(self, lib: Libbpf, warn: t.Callable[[str], None]) -> None:
        self.lib = lib
        self.warn = warn
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
        """What reverses the thing just done, or about to be done."""
        self._undo.callback(callback, *arguments)

    @contextlib.contextmanager
    def part(self, words: t.Callable[[BaseException], str]) -> t.Iterator[None]:
        """What fails within this is undone at once; what succeeds is undone with the rest.

        Raises FleetError with `words` of the error.
        """
        before, self._undo = self._undo, contextlib.ExitStack()
        try:
            yield
        except BaseException as error:
            part, self._undo = self._undo, before
            said = words(error)
            _close(part, said)
            if isinstance(error, (OSError, FleetError)):
                raise FleetError(said) from error
            raise
        part, self._undo = self._undo, before
        self._undo.push(part)

    def take_back(self, why: str) -> None:
        """Undo everything, the last first. Raises FleetError where that fails."""
        _close(self._undo, why)

    def pin(self, fd: int, path: str) -> None:
        """Pin, in the place of what is there."""
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
        """Pin under another name first, then rename: at no time is there no pin."""
        make_folder(os.path.dirname(path))
        remove(path + NEW)
        self.lib.pin(fd, path + NEW)
        os.rename(path + NEW, path)

    def pin_at_last(self, fd: int, path: str) -> None:
        """Pin now, or in keep() if the change is provisional."""
        if self.provisional:
            self._to_pin.append((fd, path))
            self.undo(self._to_pin.remove, (fd, path))
        else:
            self.replace_pin(fd, path)

    def do_at_last(self, do: t.Callable[[], None]) -> None:
        """Do now, or in keep() if the change is provisional."""
        if self.provisional:
            self._to_do.append(do)
        else:
            do()

    def keep(self) -> None:
        """Pin and do what had to wait. Raises OSError or FleetError, with no link lost; then all is to be undone."""
        for fd, path in self._to_pin:
            self.replace_pin(fd, path)
        for do in self._to_do:
            do()


def _close(undo: contextlib.ExitStack, words: str) -> None:
    try:
        undo.close()
    except (OSError, FleetError) as error:
        raise FleetError(f"{words}; and it could not be put back as it was: {error}; run again to mend that") from error

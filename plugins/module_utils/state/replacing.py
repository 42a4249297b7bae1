# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replacing files of the target: each is written whole or not at all, and can be restored."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ..errors import FleetError
from .files import make_folders, read_file

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from .trusted import Read


def write_file(module: AnsibleModule, path: str, content: bytes, mode: int) -> None:
    """Write `content` to `path`, and create missing folders. An existing file keeps mode, owner and SELinux context.

    The new file is first written beside it, always under the same name: what a killed run leaves, the next replaces.
    """
    new = unfinished(path)
    try:
        make_folders(os.path.dirname(path))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            known = _regular(path)
            if known:
                mode = known.st_mode & 0o777  # whoever chose a set-user-ID bit did so for a different content
                os.fchown(file.fileno(), known.st_uid, known.st_gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        if module.selinux_enabled():
            context = module.selinux_context(path) if known else module.selinux_default_context(path)
            module.set_context_if_different(new, context, False)
        os.rename(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise FleetError(f"cannot write {path}: {error.strerror}") from error


def _regular(path: str) -> t.Optional[os.stat_result]:
    """The file that is replaced. Of a link, nothing is taken over: what it leads to is a different file."""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        return found if stat.S_ISREG(found.st_mode) else None
    return None


def unfinished(path: str) -> str:
    """The path under which a file is written before it is renamed to its own."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")


class ReplacedFile:
    """A file that is to have new content, and can be restored to what differs() last found, by `read`.

    Who uses it has the lock of its folder, until it need no longer be restored.
    """

    def __init__(self, module: AnsibleModule, path: str, content: bytes, read: Read = read_file) -> None:
        self.path = path
        self._module = module
        self.content = content
        self._read = read
        self._before: t.Optional[bytes] = None
        self._link: t.Optional[str] = None
        self._folders: t.List[str] = []

    def differs(self) -> bool:
        """Read the file; returns whether it is to be written."""
        self._before = self._read(self.path)
        self._link = os.readlink(self.path) if os.path.islink(self.path) else None
        return self._before != self.content

    def write(self) -> None:
        """Raises FleetError; restore() also cleans up after a failed write."""
        above = os.path.dirname(self.path)
        while not os.path.exists(above):
            self._folders.append(above)
            above = os.path.dirname(above)
        write_file(self._module, self.path, self.content, 0o644)

    def restore(self) -> None:
        if self._link is None and self._before is not None:
            write_file(self._module, self.path, self._before, 0o644)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if self._link is not None:
            os.symlink(self._link, self.path)
        for folder in self._folders:
            with contextlib.suppress(OSError):  # it is no longer empty
                os.rmdir(folder)

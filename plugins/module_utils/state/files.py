# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the target, read whole, and written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import typing as t

from ..errors import FleetError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def read_file(path: str) -> t.Optional[bytes]:
    """None where there is no such file. Raises FleetError where it is none that ends, as a pipe or a device."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FleetError(f"{path} is not a regular file")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FleetError(f"cannot read {path}: {error.strerror}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_file(module: AnsibleModule, path: str, content: bytes, mode: int) -> None:
    """Put `content` at `path`, with folders that are missing above it, keeping its mode, owner and SELinux context.

    It is written beside it first, under one name: what a run leaves that is killed meanwhile, the next one replaces.
    """
    new = unfinished(path)
    try:
        make_folders(os.path.dirname(path))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            with contextlib.suppress(FileNotFoundError):
                before = os.stat(path)
                mode = stat.S_IMODE(before.st_mode)
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        if module.selinux_enabled():
            known = os.path.exists(path)
            context = module.selinux_context(path) if known else module.selinux_default_context(path)
            module.set_context_if_different(new, context, False)
        os.rename(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise FleetError(f"cannot write {path}: {error.strerror}") from error


def make_folders(path: str, forbidden: int = 0o022) -> None:
    """With those above it that are missing, and without the `forbidden` bits of their modes, whatever the umask."""
    umask = os.umask(forbidden)
    try:
        os.umask(umask | forbidden)
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(umask)


def unfinished(path: str) -> str:
    """Where a file is written before it takes its place."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")


class ReplacedFile:
    """A file that gets new content, and can be restored to what the last look() found."""

    def __init__(self, module: AnsibleModule, path: str, content: bytes) -> None:
        self.path = path
        self._module = module
        self.content = content
        self._before: t.Optional[bytes] = None
        self._link: t.Optional[str] = None
        self._folders: t.List[str] = []

    def look(self) -> bool:
        """Whether it must be written."""
        self._before = read_file(self.path)
        self._link = os.readlink(self.path) if os.path.islink(self.path) else None
        return self._before != self.content

    def write(self) -> None:
        """Raises FleetError; restore() undoes a failed write too."""
        above = os.path.dirname(self.path)
        while not os.path.exists(above):
            self._folders.append(above)
            above = os.path.dirname(above)
        self._write(self.content)

    def _write(self, content: bytes) -> None:
        from .locks import lock  # here: a target compiles what it imports

        folder = os.path.dirname(self.path)
        make_folders(folder)
        with lock(folder):  # a task of bpf_object may be at work there
            write_file(self._module, self.path, content, 0o644)

    def restore(self) -> None:
        if self._link is None and self._before is not None:
            self._write(self._before)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if self._link is not None:
            os.symlink(self._link, self.path)
        for folder in self._folders:
            with contextlib.suppress(OSError):  # something else was put there meanwhile
                os.rmdir(folder)

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

from .errors import FleetError

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
        os.makedirs(os.path.dirname(path), exist_ok=True)
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
        raise FleetError(f"cannot write {path}: {error.strerror}") from error


def unfinished(path: str) -> str:
    """Where a file is written before it takes its place."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")


class ReplacedFile:
    """A file that is to have new content, and can be put back as it was. `before` None: there is none yet."""

    def __init__(self, module: AnsibleModule, path: str, content: bytes, before: t.Optional[bytes]) -> None:
        self.path = path
        self._module = module
        self._content = content
        self._before = before
        self._written = False
        self._folders: t.List[str] = []

    @property
    def differs(self) -> bool:
        return self._before != self._content

    def write(self) -> None:
        self._written = True
        folder = os.path.dirname(self.path)
        while not os.path.exists(folder):
            self._folders.append(folder)
            folder = os.path.dirname(folder)
        write_file(self._module, self.path, self._content, 0o644)

    def put_back(self) -> None:
        if self._written and self._before is not None:
            write_file(self._module, self.path, self._before, 0o644)
        elif self._written:
            os.unlink(self.path)
            for folder in self._folders:
                with contextlib.suppress(OSError):  # another has put something in it meanwhile
                    os.rmdir(folder)

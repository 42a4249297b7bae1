# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the target, read whole, and written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .errors import FleetError


def read_file(path: str) -> t.Optional[bytes]:
    """None where there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FleetError(f"cannot read {path}: {error.strerror}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_file(module: AnsibleModule, path: str, content: bytes, mode: int) -> None:
    """Put `content` at `path`, with folders that are missing above it, keeping its owner and SELinux context."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd, new = tempfile.mkstemp(dir=module.tmpdir)
        with open(fd, "wb") as file:
            file.write(content)
        exists = os.path.exists(path)
        module.atomic_move(new, path)
        if not exists:
            os.chmod(path, mode)
    except OSError as error:
        raise FleetError(f"cannot write {path}: {error.strerror}") from error


class ReplacedFile:
    """A file that is to have new content, and can be put back as it was."""

    def __init__(self, module: AnsibleModule, path: str, content: bytes) -> None:
        self._module = module
        self._path = path
        self._content = content
        self._before = read_file(path)
        self._written = False

    @property
    def differs(self) -> bool:
        return self._before != self._content

    def write(self) -> None:
        if self.differs:
            self._written = True
            write_file(self._module, self._path, self._content, 0o644)

    def put_back(self) -> None:
        if self._written and self._before is None:
            os.unlink(self._path)
        elif self._written and self._before is not None:
            write_file(self._module, self._path, self._before, 0o644)

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the target, written whole or not at all."""

from __future__ import annotations

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

from .errors import FleetError


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

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pythons that may restore programs. They run as root at each boot: none that other users can change."""

from __future__ import annotations

import glob
import os
import shlex
import sys
import typing as t

from ..state.trusted import is_trusted

# The interpreter that Ansible has found, often python3.11, is gone after the next upgrade of the distribution.
_SEARCHED = (
    "/usr/bin/python3",
    "/usr/libexec/platform-python",
    "/usr/bin/python3.[0-9]*",
    "/usr/local/bin/python3*",
)


def interpreters() -> t.List[str]:
    """Words and patterns for the shell, in the order in which they are to be tried."""
    own = _own()
    return [*([shlex.quote(own)] if own else []), *_searched()]


def obstacle() -> str:
    """Why there is none, "" if there is one."""
    if _own() or any(map(glob.glob, _searched())):
        return ""
    return f"users other than root can change its Python, {sys.executable}, and there is no /usr/bin/python3"


def _searched() -> t.List[str]:
    return [each for each in _SEARCHED if is_trusted(os.path.dirname(each), missing=True)]


def _own() -> t.Optional[str]:
    """One from elsewhere, as in a virtual environment, may be the only one that works here."""
    own = sys.executable or ""  # None or "" where Python cannot find out
    folders = tuple(f"{os.path.dirname(each)}/" for each in _SEARCHED)
    if not own or own.startswith(folders) or not is_trusted(own) or not is_trusted(os.path.dirname(os.__file__)):
        return None
    return own

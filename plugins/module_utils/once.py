# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imported before all else: what comes after it is compiled once.

Ansible sends sources in a zip, and Python's zipimport compiles each twice: to learn the name of its file, for which it
need not, and to run it (python/cpython#141276). That was a third of the time of a module on its host.
"""

import typing as t
import zipimport


def _get_filename(self: t.Any, fullname: str) -> str:
    """As zipimport's own, for an archive that has sources only."""
    end = "/__init__.py" if self.is_package(fullname) else ".py"
    return f"{self.archive}/{self.prefix}{fullname.rpartition('.')[2]}{end}"


if isinstance(globals().get("__loader__"), zipimport.zipimporter):  # this process is Ansible's, for one task
    setattr(zipimport.zipimporter, "get_filename", _get_filename)  # noqa: B010  mypy allows no assignment to a method

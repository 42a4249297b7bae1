# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This package as one file that a host runs later, without Ansible: a shell script that finds a Python, and a zip."""

from __future__ import annotations

import importlib.util
import io
import os
import pkgutil
import typing as t
import zipfile

from .interpreter import interpreters

# Whether a Python works is only asked where it has failed: to start one more takes as long as the start of the run.
_FIND_PYTHON = """\
#!/bin/sh
for python in {pythons}; do
    [ -x "$python" ] || continue
    "$python" -I -B "$0" "$@" && exit 0
    status=$?
    "$python" -I -B -c 'import ctypes, sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && exit $status
done
echo "there is no Python 3.8 or later with ctypes on this host, so {undone}; install python3" >&2
exit 1
"""

# zipimport's own get_filename() compiles each module, which is then compiled again to run (python/cpython#141276).
_MAIN = """\
import sys

try:
    import ctypes
except ImportError:
    sys.exit(1)
if sys.version_info < (3, 8):
    sys.exit(1)
import zipimport


def get_filename(self, name):
    end = "/__init__.py" if self.is_package(name) else ".py"
    return self.archive + "/" + self.prefix + name.rpartition(".")[2] + end


zipimport.zipimporter.get_filename = get_filename
from ebpf_fleet.{module} import main

sys.exit(main(sys.argv[1:]))
"""


def packed(module: str, undone: str) -> bytes:
    """The file runs main() of this module of the package. Made from the file in which Ansible sent the package.

    `undone`: what does not happen if there is no Python, in words.
    """
    file = io.BytesIO()
    file.write(os.fsencode(_FIND_PYTHON.format(pythons=" ".join(interpreters()), undone=undone)))
    with zipfile.ZipFile(file, "w") as archive:
        for path, source in sorted(_sources(__name__.rpartition(".persist.")[0], "ebpf_fleet")):
            archive.writestr(zipfile.ZipInfo(path), source)
        archive.writestr(zipfile.ZipInfo("__main__.py"), _MAIN.format(module=module))
    return file.getvalue()


def _sources(package: str, folder: str) -> t.Iterator[t.Tuple[str, str]]:
    """Path and source of all modules of a package, imported or not, wherever the package is stored."""
    spec: t.Any = importlib.util.find_spec(package)
    yield f"{folder}/__init__.py", spec.loader.get_source(package) or ""
    for each in pkgutil.iter_modules(spec.submodule_search_locations):
        name, finder = f"{package}.{each.name}", t.cast(t.Any, each.module_finder)
        if each.ispkg:
            yield from _sources(name, f"{folder}/{each.name}")
        else:
            # A zipimporter is also a loader; its find_spec() would compile the module.
            loader = finder if hasattr(finder, "get_source") else finder.find_spec(name).loader
            yield f"{folder}/{each.name}.py", loader.get_source(name)

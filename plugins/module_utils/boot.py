# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host after a reboot: restores the programs of each interface as soon as the interface appears.

boot.pyz is this package in one file, which a systemd unit runs for each interface: the modules' own observe, plan and
apply, with a manifest instead of options. It begins as a shell script, which looks for a Python to run the rest.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import pkgutil
import sys
import typing as t
import zipfile

from .deploy.change import change
from .deploy.request import Request, Wanted
from .entry import message_of, require_libbpf
from .errors import FleetError
from .objects.object_file import inspect_to_load
from .persist.interpreter import interpreters
from .persist.manifests import all_places, read_manifest
from .state.bpffs import check_root
from .state.identity import root_of_namespace
from .state.places import Place

if t.TYPE_CHECKING:
    from .libbpf.library import Libbpf

_FIND_PYTHON = """\
#!/bin/sh
for python in {pythons}; do
    "$python" -I -B -c 'import ctypes, sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || continue
    exec "$python" -I -B "$0" "$@"
done
echo "there is no Python 3.8 or later with ctypes on this host, so no XDP program is restored; install python3" >&2
exit 1
"""


@functools.lru_cache(maxsize=None)
def runner() -> bytes:
    """boot.pyz: this package as a file that sh can run. Built once, from the file in which the module was sent."""
    package = __name__.rpartition(".")[0]
    file = io.BytesIO()
    file.write(os.fsencode(_FIND_PYTHON.format(pythons=" ".join(interpreters()))))
    with zipfile.ZipFile(file, "w") as archive:
        for path, source in sorted(_sources(package, "ebpf_fleet")):
            archive.writestr(zipfile.ZipInfo(path), source)
        main = "import sys\nfrom ebpf_fleet.boot import main\nsys.exit(main(sys.argv[1:]))\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
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


def main(arguments: t.Sequence[str]) -> int:
    """boot.pyz INTERFACE: restore what the manifests say. Prints each step, and errors on standard error."""
    (interface,) = arguments
    failed = 0
    for place in all_places():
        if place.interface != interface or root_of_namespace(place.root.partition("@")[0]) != place.root:
            continue
        try:
            for line in restore(require_libbpf(), place):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
        except (FleetError, OSError, ValueError) as error:
            sys.stderr.write(f"cannot restore {place.name} on {interface}: {message_of(error)}\n")
            failed = 1
    return failed


def restore(lib: Libbpf, place: Place) -> t.Iterator[str]:
    """Attach what the manifest of a place says. Raises FleetError, BpfError and OSError."""
    check_root(place.root)
    manifest, content = read_manifest(place)
    deployed = manifest.deployed
    image = inspect_to_load(lib, deployed.object, content).image
    wanted = Wanted(
        state="attached",
        name=place.name,
        object=image.facts,
        program=deployed.program or None,
        mode=deployed.mode,
        replace=manifest.replace,
        generic=manifest.generic,
        unsafe=manifest.unsafe,
    )
    warnings: t.List[str] = []
    request = Request(wanted, place.root, [place.interface], keep_going=False, check=False)
    outcome = change(lib, request, image, warnings.append)
    yield from warnings
    for part in outcome.parts:
        yield from (f"{part.seen.place.name} on {part.seen.interface}: {step}" for step in part.steps)

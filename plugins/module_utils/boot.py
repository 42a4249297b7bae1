# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host after a reboot: restores the programs of each interface as soon as the interface appears.

boot.pyz is this package in one file, which a systemd unit runs for each interface: the modules' own observe, plan and
apply, with a manifest instead of options.
"""

from __future__ import annotations

import functools
import sys
import typing as t

from .deploy.change import change
from .deploy.request import Request, Wanted
from .entry import garbage_kept, message_of, require_libbpf
from .errors import FleetError
from .objects.image import Image
from .objects.object_file import inspect_to_load
from .persist.lists import kept_lists, read_list
from .persist.manifests import Manifest, all_places, read_manifest
from .persist.packing import packed
from .state.bpffs import check_root
from .state.identity import root_of_namespace
from .state.places import Place

if t.TYPE_CHECKING:
    from .libbpf.library import Libbpf


@functools.lru_cache(maxsize=None)
def runner() -> bytes:
    """boot.pyz: this package as a file that sh can run."""
    return packed("boot", "no XDP program is restored")


def _declared(lib: Libbpf, image: Image, place: Place, manifest: Manifest) -> t.Dict[str, t.Any]:
    """What tasks have declared of it: variables, sizes and entries of maps."""
    variables, sizes = {**manifest.deployed.variables, **manifest.globals}, manifest.deployed.sizes
    pins = kept_lists(place)
    if not (variables or sizes or pins):
        return {}
    from .deploy.filling import restored
    from .deploy.settings import settings_of, with_sizes

    lists = {pin: read_list(place, pin) or {} for pin in pins}
    return {
        "object": with_sizes(image, sizes).facts,
        "sizes": sizes,
        "settings": settings_of(lib, image, variables),
        "fillings": tuple(restored(lib, image, pin, entries) for pin, entries in lists.items()),
    }


def main(arguments: t.Sequence[str]) -> int:
    """boot.pyz INTERFACE: restore what the manifests say. Prints each step, and errors on standard error."""
    (interface,) = arguments
    failed = 0
    for place in all_places():
        if place.interface != interface or root_of_namespace(place.root.partition("@")[0]) != place.root:
            continue
        try:
            with garbage_kept():
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
        dispatcher="always" if deployed.sharing else "auto",
        priority=deployed.sharing.get("priority"),
        actions=tuple(deployed.sharing["chain_call_actions"]) if deployed.sharing else None,
    )
    wanted = wanted._replace(**_declared(lib, image, place, manifest))
    warnings: t.List[str] = []
    request = Request(wanted, place.root, [place.interface], keep_going=False, check=False)
    outcome = change(lib, request, image, warnings.append)
    yield from warnings
    for part in outcome.parts:
        yield from (f"{part.seen.place.name} on {part.seen.interface}: {step}" for step in part.steps)

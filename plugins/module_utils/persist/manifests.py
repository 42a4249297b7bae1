# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: what is restored on an interface after a reboot. A file in /var for each program and interface."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import base64
import os
import typing as t

from ..errors import FleetError
from ..state import deployed as files
from ..state.deployed import Deployed
from ..state.files import sha256
from ..state.places import MANIFESTS, Place, places_of, scan, unescape
from ..state.trusted import read_trusted

RUN_AGAIN = "run ebpf.fleet.deploy again, or the xdp_program task that wrote it"


class Manifest(t.NamedTuple):
    """What to restore, besides the object itself.

    `deployed.program` is the one that ran: a choice at boot could differ, as the network configuration has not set the
    MTU yet. `replace`: foreign programs are replaced. `generic`: generic mode was in force. At boot, native mode may
    seem possible, as on a bond without interfaces, and would then keep out interfaces that do not support it. `unsafe`:
    allow_unsafe_paths was set, so the pin root may be one that other users can write to. `globals`: values of variables
    that the task set and that are no constants, by name.
    """

    deployed: Deployed
    replace: bool = False
    generic: bool = False
    unsafe: bool = False
    globals: t.Mapping[str, t.Any] = {}


def packed(manifest: Manifest, content: bytes) -> bytes:
    """The content of the file: the manifest and its object in one, so that they always match."""
    more: t.Dict[str, t.Any] = {"replace": manifest.replace, "generic": manifest.generic}
    if manifest.unsafe:  # else the file is the same as in the previous release
        more["unsafe"] = True
    if manifest.globals:
        more["globals"] = dict(manifest.globals)
    return files.written(manifest.deployed, **more, content=base64.b64encode(content).decode())


def read_manifest(place: Place) -> t.Tuple[Manifest, bytes]:
    """A manifest and its object. Raises FleetError if it is missing or damaged, or if other users can change it."""
    text = read_trusted(place.manifest, "to restore")
    if text is None:
        raise FleetError(f"there is no {place.manifest}")
    try:
        deployed, more = files.read(text, replace=False, generic=False, unsafe=False, globals={}, content="")
        content = base64.b64decode(more.pop("content"), validate=True)
    except ValueError as error:
        raise FleetError(f"{place.manifest} is damaged and cannot be read; {RUN_AGAIN}") from error
    if sha256(content) != deployed.checksum:
        raise FleetError(f"{place.manifest} is damaged: its object does not match its checksum; {RUN_AGAIN}")
    return Manifest(deployed, **more), content


def all_places() -> t.List[Place]:
    """The places of all manifests on this host."""
    found = []
    for root in scan(MANIFESTS):
        for name in scan(root.path):
            found += [each for each in places_of(unescape(root.name), name.name) if os.path.exists(each.manifest)]
    return found

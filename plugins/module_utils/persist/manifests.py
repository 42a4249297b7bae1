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
from ..state.files import read_file, sha256
from ..state.places import MANIFESTS, Place, places_of, scan, unescape

AGAIN = "run ebpf.fleet.deploy, or the task with xdp_program that has put it there, again"


class Manifest(t.NamedTuple):
    """What is to be restored, beside the object itself.

    `deployed.program` is the one that ran: by the MTU at boot, which the network configuration has yet to set, another
    might be chosen. `replace`: foreign programs are replaced. `generic`: the mode in force. At boot native mode may
    seem possible, as on a bond that has no interfaces yet, and would then keep out those that cannot do it.
    """

    deployed: Deployed
    replace: bool = False
    generic: bool = False


def packed(manifest: Manifest, content: bytes) -> bytes:
    """The file: a manifest and its object in one, so that they cannot come apart."""
    more = {"replace": manifest.replace, "generic": manifest.generic}
    return files.written(manifest.deployed, **more, content=base64.b64encode(content).decode())


def read_manifest(place: Place) -> t.Tuple[Manifest, bytes]:
    """A manifest and its object. Raises FleetError where it is missing or damaged."""
    text = read_file(place.manifest)
    if text is None:
        raise FleetError(f"there is no {place.manifest}")
    try:
        deployed, more = files.read(text, replace=False, generic=False, content="")
        content = base64.b64decode(more.pop("content"), validate=True)
    except ValueError as error:
        raise FleetError(f"{place.manifest} is damaged, and cannot be read; {AGAIN}") from error
    if sha256(content) != deployed.checksum:
        raise FleetError(f"{place.manifest} is damaged: its object does not have its checksum; {AGAIN}")
    return Manifest(deployed, **more), content


def all_places() -> t.List[Place]:
    """Those of all manifests of this host."""
    found = []
    for root in scan(MANIFESTS):
        for name in scan(root.path):
            found += [each for each in places_of(unescape(root.name), name.name) if os.path.exists(each.manifest)]
    return found

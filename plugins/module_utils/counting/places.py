# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a counter is deployed on this host, by the options name, interfaces and pin_root that its modules share."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach.interfaces import resolve
from ..state.places import Place, check_name, places_of, root_of_namespace

OPTIONS = {
    "name": {"type": "str", "default": "packet_count"},
    "interfaces": {"type": "list", "elements": "str"},
    "pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"},
}


class Places(t.NamedTuple):
    """`asked`: of the interfaces that the user named, else of all that the counter is on.

    `missing`: named interfaces that it is not on.
    """

    deployed: t.List[Place]
    asked: t.List[Place]
    missing: t.List[str]


def counter_places(options: t.Mapping[str, t.Any]) -> Places:
    """Raises FleetError where an option cannot be used."""
    name = check_name(options["name"])
    root = root_of_namespace(options["pin_root"])
    every = places_of(root, name)
    if not every:
        from ..state.bpffs import check_root  # here: a target compiles what it imports

        check_root(root)  # or it says why nothing can be pinned there
    if options["interfaces"] is None:
        return Places(every, every, [])
    asked = [Place(root, name, each) for each in resolve(options["interfaces"])]
    deployed = [each for each in every if each in asked]
    return Places(deployed, asked, sorted(each.interface for each in asked if each not in deployed))

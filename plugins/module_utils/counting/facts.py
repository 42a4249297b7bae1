# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xdp_counter_facts returns: counters, rates and trace lines of all interfaces."""

from __future__ import annotations

import time
import typing as t

from ..attach.asked import places_asked
from ..attach.exactness import inexact_because
from ..deploy.observe import Seen, observe_settled
from ..errors import FleetError
from ..kernel.clock import boot_id, iso, loaded_at
from ..state.places import places_of
from . import counters

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..libbpf.library import Libbpf


def facts(module: AnsibleModule, lib: Libbpf) -> t.Dict[str, t.Any]:
    """ansible_facts.xdp_counter. Raises FleetError."""
    options = module.params
    for name, least in (("interval", 0), ("trace_seconds", 0), ("trace_lines", 1), ("trace_every", 1)):
        if not least <= options[name] < 2**31:
            raise FleetError(f"{name} is {options[name]}; give {least} or more")
    places = places_asked(lib, options, "to read")
    deployed = set(places)
    if options["interfaces"]:
        deployed &= {each for root in {place.root for place in places} for each in places_of(root, places[0].name)}
    for each in sorted(set(places) - deployed):
        module.warn(f"{options['name']} is not on {each.interface}: deploy it there with ebpf.fleet.xdp_program")
    seen = observe_settled(lib, [each for each in places if each in deployed])
    first = {each.interface: counters.read(lib, each) for each in seen}
    start = time.monotonic()
    tracing = options["trace_seconds"] > 0 and not module.check_mode
    traced = None
    if tracing:
        from .trace import trace  # here: a target compiles what it imports, and rarely needs this

        traced = trace(lib, seen, options["trace_seconds"], options["trace_lines"], options["trace_every"])
    time.sleep(max(0.0, start + options["interval"] - time.monotonic()))
    again = options["interval"] > 0 or tracing
    last = {each.interface: counters.read(lib, each) for each in seen} if again else first

    result: t.Dict[str, t.Any] = {
        "collected_at": iso(time.time()),
        "boot_id": boot_id(),
        "program": options["name"],
        "totals": _totals(last.values()),
        "interfaces": {each.interface: _interface(each, last[each.interface]) for each in seen},
    }
    if options["interval"] > 0:
        from .rates import per_second  # imported here, because a target compiles what it imports

        for name, reading in last.items():
            before = first[name]
            if reading and before:
                result["interfaces"][name].update(per_second(before, reading))
    if options["trace_seconds"] > 0:
        result["trace"] = traced._asdict() if traced else {"lines": [], "lost": 0, "seconds": 0.0}
    return result


def _interface(seen: Seen, reading: t.Optional[counters.Reading]) -> t.Dict[str, t.Any]:
    program = seen.running
    because = inexact_because(seen.interface, seen.ifindex, seen.mode) if seen.attached else None
    return {
        "packets": reading.packets if reading else None,
        "bytes": reading.bytes if reading else None,
        "per_cpu": [cpu._asdict() for cpu in reading.cpus] if reading else [],
        "mode": seen.mode,
        "exact": because is None if seen.attached else None,
        "inexact_because": because,
        "program_id": program.id if program else None,
        "program_name": program.name if program else None,
        "tag": program.tag if program else None,
        "variables_digest": seen.variables_digest,
        "loaded_at": loaded_at(program.load_time) if program else None,
        "attached": seen.attached,
        "moved": bool(seen.ours and seen.ours.elsewhere),
    }


def _totals(readings: t.Iterable[t.Optional[counters.Reading]]) -> t.Dict[str, t.Optional[int]]:
    found = [reading for reading in readings if reading]
    return {
        "packets": sum(reading.packets for reading in found) if found else None,
        "bytes": sum(reading.bytes for reading in found) if found else None,
    }

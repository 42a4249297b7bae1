# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade keeps: the maps that the new program takes over. Pure."""

from __future__ import annotations

import typing as t

from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MapShape
from ..state.places import unescape
from .observe import Seen
from .request import Wanted


def kept_maps(
    wanted: Wanted, seen: Seen, shapes: t.Mapping[str, MapShape], held: t.Mapping[str, MapInfo]
) -> t.Dict[str, int]:
    """Ids of the maps to keep, by pin: the running program's own, else what is pinned."""
    reuse = {}
    for pin, shape in shapes.items():
        info = held.get(pin) or seen.maps.get(pin)
        if info is None or (shape.type == "prog_array" and len(wanted.object.loaded_with("")) > 2):
            continue  # an array of the object's own programs: if kept, it would still call the old ones
        if info.shape != _as_created(shape, info.shape):
            raise FleetError(
                f"cannot upgrade {wanted.name} on {seen.interface}: the map {unescape(pin)} has changed its shape"
                f" (it is {info.shape}; the new object needs {shape}); nothing was changed."
                f" Set maps: reset to start with new, empty maps"
            )
        reuse[pin] = info.id
    return reuse


def _as_created(shape: MapShape, like: t.Optional[MapShape] = None) -> MapShape:
    """The shape of a map whose size libbpf chooses: one entry for each CPU, or whole pages."""
    if not like or like.type != shape.type:
        return shape
    chosen = shape.type in ("ringbuf", "user_ringbuf") or (shape.type == "perf_event_array" and shape.max_entries == 0)
    return shape._replace(max_entries=like.max_entries) if chosen else shape

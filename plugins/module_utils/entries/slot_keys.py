# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the slots of a map of maps, between YAML and bytes."""

from __future__ import annotations

import json
import sys
import typing as t

from ..errors import FleetError
from ..libbpf.kinds import MapShape
from ..libbpf.layouts import Layouts
from ..values.codec import codec, hex_codec
from ..values.scalars import Codec


def key_of_slot(name: str, shape: MapShape, types: t.Optional[Layouts], key_type: int, value: t.Any) -> bytes:
    """`value`: as a task has it. Raises FleetError if the map of that name and shape can have no such slot."""
    if shape.type == "array_of_maps":
        index = int(value) if str(value).isdecimal() else shape.max_entries
        if index >= shape.max_entries:
            raise FleetError(f"there is no slot {value}: {name} has 0 to {shape.max_entries - 1}")
        return index.to_bytes(shape.key_size, sys.byteorder)
    return _codec(shape, types, key_type).encode(value)


def value_of_slot(shape: MapShape, types: t.Optional[Layouts], key_type: int, key: bytes) -> t.Any:
    if shape.type == "array_of_maps":
        return int.from_bytes(key, sys.byteorder)
    return _codec(shape, types, key_type).decode(key)


def slot_text(value: t.Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _codec(shape: MapShape, types: t.Optional[Layouts], key_type: int) -> Codec:
    if types and key_type:
        return codec(types, types.layout(key_type), "slot", whole=True)
    return hex_codec(shape.key_size, "slot")

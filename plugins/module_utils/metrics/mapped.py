# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a map as series: labels from members of the key, values from members of the value, by BTF."""

from __future__ import annotations

import typing as t

from ..entries.writing import TYPES
from ..errors import FleetError
from ..filling.named import opened
from ..filling.reading import value_reader
from ..libbpf.elements import Elements
from .declared import OWN_LABELS, Mapped
from .exposition import Labels, Number

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf

Series = t.Tuple[Labels, t.List[t.Tuple[str, Number]]]


def series_of(lib: Libbpf, fd: int, path: str, mapped: Mapped) -> t.Iterator[Series]:
    """The labels of each entry, and its numbers by member, "" for a value that is one. Raises FleetError.

    Values of per-CPU maps are summed. A member that is no number is left out.
    """
    found = opened(lib, fd, path)
    shape = found.info.shape
    if shape.type not in TYPES:
        raise FleetError(f"a map of type {shape.type} has no entries that can be read as numbers")
    if not found.types or not found.info.value_type:
        raise FleetError("the map has no BTF, so what its bytes mean is not known: compile its program with clang -g")
    how, elements = found.typed(None), Elements(lib, fd, shape)
    value = value_reader(found, how, elements, "sum")
    for portion in elements.read():
        for key, data in portion:
            yield labels_of(how.key.decode(key), mapped), list(numbers_of(value(data)))


def labels_of(key: t.Any, mapped: Mapped) -> Labels:
    """A key that is a struct has a label for each member."""
    if not isinstance(key, dict):
        return ((mapped.key_label, mapped.key_names.get(str(key), str(key))),)
    return tuple((f"key_{name}" if name in OWN_LABELS else name, content) for name, content in _members(key))


def _members(value: t.Mapping[str, t.Any], above: str = "") -> t.Iterator[t.Tuple[str, str]]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _members(each, f"{above}{name}_")
        else:
            yield f"{above}{name}", str(each)


def numbers_of(value: t.Any, name: str = "") -> t.Iterator[t.Tuple[str, Number]]:
    """Of a struct each member that is a number; members of members as OUTER_INNER, elements of an array as NAME_0."""
    if isinstance(value, (int, float)):
        yield name, int(value) if isinstance(value, bool) else value
    elif isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for each, inner in items:
            yield from numbers_of(inner, f"{name}_{each}" if name else str(each))

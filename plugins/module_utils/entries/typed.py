# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listed entries as the bytes of a map, by its BTF."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import typing as t

from ..errors import FleetError
from ..libbpf.kinds import MapShape
from ..libbpf.layouts import Layout, Layouts
from ..values.codec import codec, hex_codec
from ..values.columns import NOT_PLAIN, cut
from ..values.keys import key_codec
from ..values.refused import ValueRefused
from ..values.scalars import Codec
from .difference import Declared, Pair
from .listed import Listed, Members, Portion

_WITHIN = "exclusive_within"


class Typed(t.NamedTuple):
    """How the keys and the values of a map are read and written; `members`: names that columns of a table may have.

    some_members: makes bytes and their mask of some members of a key.
    """

    key: Codec
    value: Codec
    members: Members
    some_members: t.Callable[[t.Any], Pair]


def typed(
    types: t.Optional[Layouts],
    shape: MapShape,
    key_type: int,
    value_type: int,
    formats: t.Optional[t.Mapping[str, str]] = None,
) -> Typed:
    """The types are numbers in the BTF; without BTF both sides are hexadecimal. Raises ValueError and ValueRefused."""
    if not types or not key_type or not value_type:
        key = hex_codec(shape.key_size, "key")
        return Typed(key, hex_codec(shape.value_size), Members(frozenset(), frozenset()), key.part)
    key_layout, value_layout = types.layout(key_type), types.layout(value_type)
    of_key = [(path, each) for path, each in (formats or {}).items() if path.startswith("key.")]
    return Typed(
        key_codec(types, key_layout, shape.type, formats=formats),
        codec(types, value_layout, formats=formats),
        Members(_names(key_layout), _names(value_layout)),
        codec(types, key_layout, _WITHIN, {f"{_WITHIN}{path[len('key') :]}": each for path, each in of_key}).part,
    )


def _names(layout: Layout) -> t.FrozenSet[str]:
    return frozenset(each.name for each in layout.members if each.name)


def declared(listed: Listed, how: Typed, options: t.Mapping[str, t.Any], cpus: int, value_size: int) -> Declared:
    """`options`: those of a map. Raises FleetError, which names the entry.

    A value is that of each CPU of a per-CPU map; value_size: of all of them together, as the kernel has it.
    """
    absent = options["state"] == "absent"
    within = how.some_members(options["exclusive_within"]) if options["exclusive_within"] else None
    if absent and (options["exclusive"] or within):
        raise FleetError("state: absent does not go with exclusive: it says which keys are removed, and no others")

    def on_each_cpu(data: bytes) -> bytes:
        return data if len(data) == value_size else data.ljust(value_size // cpus, b"\0") * cpus

    same, mask = (bytes(how.value.size), b"") if options["value"] is None else how.value.part(options["value"])
    same = b"" if absent else on_each_cpu(same)
    values: t.Dict[bytes, bytes] = {}
    masks: t.Dict[bytes, bytes] = {}
    valued = 0
    for portion in listed.portions():
        keys = _keys(listed, how.key, portion)
        if portion.values is None:
            values.update(dict.fromkeys(keys, same))
            continue
        found, found_masks = _values(listed, how.value, portion.numbers, portion.values)
        values.update(zip(keys, found if how.value.size == value_size else map(on_each_cpu, found)))
        masks.update((key, on_each_cpu(each)) for key, each in zip(keys, found_masks) if each.strip(b"\xff"))
        valued += len(keys)
    if len(values) < valued:
        _check_agreed(listed, how)
    if mask.strip(b"\xff"):
        masks = dict.fromkeys(values, on_each_cpu(mask))
    return Declared(values, masks, absent, options["exclusive"] or bool(within), within)


def _keys(listed: Listed, key: Codec, portion: Portion) -> t.Sequence[bytes]:
    return _packed(key, portion.keys) or encoded(listed, key.encode, portion.numbers, portion.keys)


def _values(
    listed: Listed, value: Codec, numbers: t.Sequence[int], given: t.Sequence[t.Any]
) -> t.Tuple[t.Sequence[bytes], t.Sequence[bytes]]:
    """Values, and the masks of those that may be given in part."""
    found = _packed(value, given)
    if not value.parted:
        return found or encoded(listed, value.encode, numbers, given), ()
    if found:  # values that are packed together all name the same
        return found, [value.part(given[0])[1]] * len(given)
    parts = encoded(listed, value.part, numbers, given)
    return [data for data, _mask in parts], [mask for _data, mask in parts]


def _packed(how: Codec, given: t.Sequence[t.Any]) -> t.Optional[t.Sequence[bytes]]:
    """Many values at once as bytes; None if they are to be encoded one by one."""
    if how.pack_many:
        with contextlib.suppress(*NOT_PLAIN):
            return cut(how.pack_many(given), how.size, len(given))
    return None


def _check_agreed(listed: Listed, how: Typed) -> None:
    first: t.Dict[bytes, t.Tuple[int, bytes]] = {}
    for portion in listed.portions():
        found, _masks = _values(listed, how.value, portion.numbers, portion.values or ())
        keys = _keys(listed, how.key, portion)
        for number, key, data, given in zip(portion.numbers, keys, found, portion.keys):
            before, other = first.setdefault(key, (number, data))
            if other != data:
                places = f"{listed.place(before)} says one, {listed.place(number)} another"
                raise FleetError(f"the key {given!r:.100} has two values: {places}")


T = t.TypeVar("T")


def encoded(
    listed: Listed, encode: t.Callable[[t.Any], T], numbers: t.Iterable[int], given: t.Iterable[t.Any]
) -> t.List[T]:
    """`numbers`: of the items or lines. Raises FleetError, which names the one."""
    found = []
    for number, each in zip(numbers, given):
        try:
            found.append(encode(each))
        except ValueRefused as error:
            raise FleetError(f"{listed.place(number)}: {error}") from None
    return found

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of maps: prefixes of LPM tries (Documentation/bpf/map_lpm_trie.rst in the kernel), and padding."""

from __future__ import annotations

import operator
import socket
import sys
import typing as t

from ..libbpf.layouts import Layout, Layouts
from .addresses import packer
from .codec import codec
from .columns import interleaved
from .refused import refuse
from .scalars import Codec

_LENGTH = 4  # bytes of the prefix length, which comes first
_LONGEST = 256  # bytes of what follows it: LPM_DATA_SIZE_MAX
_FAMILIES = {4: (socket.AF_INET, "192.0.2.0/24"), 16: (socket.AF_INET6, "2001:db8::/32")}


def key_codec(
    types: Layouts,
    layout: Layout,
    map_type: str,
    name: str = "key",
    formats: t.Optional[t.Mapping[str, str]] = None,
    order: str = sys.byteorder,
) -> Codec:
    """As codec(). The key of an LPM trie is a prefix, if behind its length there is nothing but an address."""
    found = codec(types, layout, name, formats, order, whole=True)
    if map_type != "lpm_trie" or not _LENGTH < layout.size <= _LENGTH + _LONGEST:
        return found
    return _prefix(found, _is_address(types, layout), name, order)


def _prefix(members: Codec, is_address: bool, name: str, order: str) -> Codec:
    """Host bits are zeroed: the trie does not look at them, but gives them back as they were written."""
    size = members.size - _LENGTH
    full = 8 * size
    byte_order: t.Any = order
    lengths = [bits.to_bytes(_LENGTH, byte_order) for bits in range(full + 1)]
    masks = [(1 << full) - (1 << full - bits) for bits in range(full + 1)]
    shorter = dict(zip(lengths[:full], masks))

    def canonical(data: bytes) -> bytes:
        length = data[:_LENGTH]
        if length not in shorter:
            return data
        return length + (int.from_bytes(data[_LENGTH:], "big") & shorter[length]).to_bytes(size, "big")

    def encode(value: t.Any) -> bytes:
        data = members.encode(value)
        bits = int.from_bytes(data[:_LENGTH], byte_order)
        if bits > full:
            raise refuse(value, f"has a prefix length of {bits}, and its address {full} bits").within(name)
        return canonical(data)

    ones = b"\xff" * members.size
    if not is_address:
        return members._replace(
            encode=encode, part=lambda value: (encode(value), ones), canonical=canonical, pack_many=None
        )

    family, example = _FAMILIES[size]
    # By the slash and what follows it, so that it is checked by the same look-up.
    known = {f"/{bits}": (lengths[bits], masks[bits]) for bits in range(full + 1)}
    known[""] = known[f"/{full}"]
    of_masks = {mask: mask.to_bytes(size, "big") for mask in masks}
    pton, of_bytes, pack_addresses = socket.inet_pton, int.from_bytes, packer(family)

    def encode_text(value: t.Any) -> bytes:
        try:
            address, slash, bits = value.partition("/")
            length, mask = known[slash + bits]
            raw = pton(family, address)
        except AttributeError:  # not a text
            return encode(value)
        except (OSError, ValueError, KeyError):
            raise refuse(value, f"is not a prefix, such as {example}").within(name) from None
        return length + (raw if mask == masks[full] else (of_bytes(raw, "big") & mask).to_bytes(size, "big"))

    def pack_texts(given: t.Sequence[t.Any]) -> bytes:
        addresses, slashes, bits = zip(*[each.partition("/") for each in given])
        found, masks_of = zip(*[known[each] for each in map(operator.add, slashes, bits)])
        raw = pack_addresses(addresses)
        ones = of_bytes(b"".join([of_masks[mask] for mask in masks_of]), "big")
        canonical_all = (of_bytes(raw, "big") & ones).to_bytes(len(raw), "big")
        columns = ((0, _LENGTH, b"".join(found)), (_LENGTH, size, canonical_all))
        return interleaved(members.size, len(given), columns)

    def decode(data: bytes) -> str:
        if len(data) != members.size:
            members.decode(data)  # it refuses
        return f"{socket.inet_ntop(family, data[_LENGTH:])}/{of_bytes(data[:_LENGTH], byte_order)}"

    return Codec(
        members.size, encode_text, lambda value: (encode_text(value), ones), decode, canonical, pack_many=pack_texts
    )


def _is_address(types: Layouts, key: Layout) -> bool:
    """Whether all behind the prefix length is one member, and that an address by its size and type."""
    size = key.size - _LENGTH
    whole = [each for each in key.members if (each.offset, each.layout.size) == (8 * _LENGTH, size)]
    first = [each.layout for each in key.members if each.offset == 0]
    if size not in _FAMILIES or not whole or [(each.kind, each.size) for each in first] != [("int", _LENGTH)]:
        return False
    for inner in (each.layout.members[0].layout if each.layout.kind == "array" else each.layout for each in whole):
        name = types.type(inner.number).name
        if (inner.kind == "int" and name != "char") or name in ("in_addr", "in6_addr"):
            return True
    return False


def holes(layout: Layout, told: t.FrozenSet[int] = frozenset()) -> t.Iterator[str]:
    """Where a key has padding. A program that does not zero it adds a second entry for the same members.

    `told`: types of which it has been said.
    """
    if layout.kind == "array":
        yield from (f"in each element: {each}" for each in holes(layout.members[0].layout, told))
    at, after = 0, ""
    last = [("", 8 * layout.size, 0)] if layout.kind in ("struct", "union") else []
    for name, begin, width in [*sorted(_ranges(layout), key=lambda each: each[1]), *last]:
        if begin > at:
            where = f"byte {at // 8}" if at % 8 == 0 else f"bit {at % 8} of byte {at // 8}"
            much = f"{(begin - at) // 8} B" if (begin - at) % 8 == 0 else f"{begin - at} bit(s)"
            yield f"{much} from {where}" + (f", after {after}" if after else "")
        if begin + width > at:
            at, after = begin + width, name
    inner = {each.layout.number: each for each in reversed(layout.members if last else ()) if each.layout.members}
    for number, member in reversed(list(inner.items())):
        if number not in told:
            yield from (f"{member.name}: {each}" for each in holes(member.layout, told | inner.keys()))


def _ranges(layout: Layout) -> t.Iterator[t.Tuple[str, int, int]]:
    if layout.kind in ("struct", "union"):
        for each in layout.members:
            yield each.name, each.offset, each.bits or 8 * each.layout.size

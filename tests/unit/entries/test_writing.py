# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written into a map, and taken back; with a dictionary in the place of the map."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.entries import writing
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Declared, difference
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from hypothesis import given, settings
from hypothesis import strategies as st

Map = t.Dict[bytes, bytes]
SHAPE = MapShape("hash", 1, 2, 16, 0)
MAPS = st.dictionaries(st.binary(min_size=1, max_size=1), st.binary(min_size=2, max_size=2), max_size=8)


class Elements:
    """Those of a map in the kernel, as far as writing needs them."""

    def __init__(self, there: Map) -> None:
        self.there = dict(there)

    def lookup(self, keys: t.Iterable[bytes]) -> Map:
        return {key: self.there[key] for key in keys if key in self.there}

    def update(self, pairs: t.Iterable[t.Tuple[bytes, bytes]]) -> None:
        self.there.update(pairs)

    def delete(self, keys: t.Iterable[bytes]) -> None:
        for key in keys:
            self.there.pop(key, None)


@settings(deadline=None)
@given(MAPS, MAPS, st.booleans(), st.booleans())
def test_once_written_nothing_is_left_to_do_and_it_can_be_taken_back(
    wanted: Map, seen: Map, exclusive: bool, in_part: bool
) -> None:
    declared = Declared(wanted, dict.fromkeys(wanted, b"\xf0\x0f") if in_part else {}, exclusive=exclusive)
    elements: t.Any = Elements(seen)
    made = difference(declared, seen, fixed=False)
    writing.write("map", elements, SHAPE, made)
    assert not difference(declared, elements.there, fixed=False)
    assert set(elements.there) == (set(wanted) if exclusive else set(wanted) | set(seen))
    writing.undo(elements, made)
    assert elements.there == seen


def test_what_a_program_wrote_meanwhile_stays() -> None:
    elements: t.Any = Elements({b"a": b"\1\7"})
    made = difference(Declared({b"a": b"\2\0"}, {b"a": b"\xff\0"}), elements.there, fixed=False)
    writing.write("map", elements, SHAPE, made)
    assert elements.there == {b"a": b"\2\7"}
    elements.there[b"a"] = b"\2\x09"  # it counts in the second byte
    writing.undo(elements, made)
    assert elements.there == {b"a": b"\1\x09"}


@pytest.mark.parametrize(("kind", "words"), [("lru_hash", "drops its least used entries"), ("hash", "")])
def test_what_the_kernel_may_drop(kind: str, words: str) -> None:
    assert words in writing.warning("sources", SHAPE._replace(type=kind))

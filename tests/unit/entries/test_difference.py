# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import (
    Declared,
    Difference,
    Updated,
    difference,
)

A, B, C = b"a1", b"b1", b"c2"
ONE, TWO, NONE = b"\1\0", b"\2\0", b"\0\0"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (Declared({A: ONE}), Difference()),
        (Declared({A: TWO, C: ONE}), Difference(((C, ONE),), (Updated(A, ONE, TWO),))),
        (Declared({A: ONE}, exclusive=True), Difference(removed=((B, TWO),))),
        (Declared({C: ONE}, exclusive=True, within=(b"b0", b"\xff\0")), Difference(((C, ONE),), removed=((B, TWO),))),
        (Declared({B: NONE, C: NONE}, absent=True), Difference(removed=((B, TWO),))),
        (Declared({A: b"\1\7"}, {A: b"\xff\0"}), Difference()),
        (
            Declared({A: b"\2\7", C: b"\2\0"}, {A: b"\xff\0", C: b"\xff\0"}),
            Difference(((C, TWO),), (Updated(A, ONE, TWO),)),
        ),
    ],
    ids=["as it is", "added and updated", "exclusive", "exclusive within", "absent", "in part", "in part, updated"],
)
def test_difference(declared: Declared, expected: Difference) -> None:
    assert difference(declared, {A: ONE, B: TWO}, fixed=False) == expected


def test_an_array_has_no_fewer_entries() -> None:
    seen = {A: ONE, B: TWO, C: NONE}
    assert difference(Declared({B: NONE, C: NONE}, absent=True), seen, True) == Difference(
        updated=(Updated(B, TWO, NONE),)
    )
    assert difference(Declared({A: TWO}, exclusive=True), seen, True) == Difference(
        updated=(Updated(A, ONE, TWO), Updated(B, TWO, NONE))
    )

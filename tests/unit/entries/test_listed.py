# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries as tasks and files list them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.listed import (
    Listed,
    Members,
    listed_in_file,
    listed_in_task,
)
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError

MEMBERS = Members(frozenset({"source", "port", "both"}), frozenset({"action", "both"}))
TASK = {"entries": None, "keys": None, "state": "present"}


def of_file(text: str, kind: str) -> Listed:
    return listed_in_file("/list", text.encode(), kind, MEMBERS)


def rows(found: Listed) -> t.Tuple[t.List[t.Any], t.Optional[t.List[t.Any]]]:
    """Its keys, and its values if there are any."""
    portions = list(found.portions())
    keys = [key for each in portions for key in each.keys]
    values = [value for each in portions for value in each.values or ()]
    return keys, values or None


def places(found: Listed) -> t.List[str]:
    return [found.place(number) for each in found.portions() for number in each.numbers]


def refused(text: str, kind: str) -> str:
    with pytest.raises(FleetError) as caught:
        rows(of_file(text, kind))
    return str(caught.value)


def test_lines() -> None:
    found = of_file("\ufeff# all\n\n 192.0.2.0/24 # one\r\n2001:db8::/32\n", "lines")
    assert rows(found) == (["192.0.2.0/24", "2001:db8::/32"], None)
    assert places(found) == ["line 3 of /list", "line 4 of /list"]


@pytest.mark.parametrize(
    ("text", "keys", "values"),
    [
        ('["a", 2]', ["a", 2], None),
        ('{"a": 1, "b": {"x": 2}}', ["a", "b"], [1, {"x": 2}]),
        ('[{"key": {"p": 1}, "value": 3}]', [{"p": 1}], [3]),
        ('[{"p": 1}]', [{"p": 1}], None),
    ],
)
def test_json(text: str, keys: t.List[t.Any], values: t.Optional[t.List[t.Any]]) -> None:
    found = of_file(text, "json")
    assert rows(found) == (keys, values)


def test_a_table() -> None:
    found = of_file("source,port,action,value.both\n192.0.2.1,80,DROP,1\n\n192.0.2.2,443,PASS,2\n", "csv")
    assert rows(found) == (
        [{"source": "192.0.2.1", "port": "80"}, {"source": "192.0.2.2", "port": "443"}],
        [{"action": "DROP", "both": "1"}, {"action": "PASS", "both": "2"}],
    )
    assert places(found) == ["line 2 of /list", "line 4 of /list"]
    assert rows(of_file("key,value\n1,2\n", "csv")) == (["1"], ["2"])
    assert rows(of_file("key.a.b\n1\n", "csv")) == ([{"a": {"b": "1"}}], None)
    assert rows(of_file("key\n\n\n", "csv")) == ([], None)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("3", "json", "neither a list nor a dictionary"),
        ("{", "json", "cannot be read as json"),
        ('[{"key": 1, "value": 2}, {"key": 1}]', "json", "item 2 of /list is {'key': 1}: give it a key and a value"),
        ("[" * 100000, "json", "cannot be read as json"),
        ("nosuch\n1\n", "csv", "the column 'nosuch' is not known; there are key, value, and the members action"),
        ("both\n1\n", "csv", "the column 'both' is a member of key and of value: write key.NAME or value.NAME"),
        ("action\nDROP\n", "csv", "no column is the key or a member of it"),
        ("source,port\n1\n", "csv", "line 2 has 1 columns, the first line has 2"),
        ("source,port\n1\n2,3,4\n", "csv", "line 2 has 1 columns, the first line has 2"),
        ('source,port\n\n"1\n2",3\n4\n', "csv", "line 5 has 1 columns, the first line has 2"),
        ("key,key.a\n1,2\n", "csv", "key and key.a are both columns, but give the same member"),
        ("key.a,source,key.a\n1,2,3\n", "csv", "key.a and key.a are both columns"),
    ],
)
def test_what_is_no_list(text: str, kind: str, words: str) -> None:
    assert words in refused(text, kind)
    with pytest.raises(FleetError, match=r"cannot be read as lines: .*0xff"):
        listed_in_file("/list", b"\xff", "lines", MEMBERS)


def test_in_a_task() -> None:
    found = listed_in_task({**TASK, "entries": [{"key": 1, "value": 2}]})
    assert (rows(found), places(found)) == (([1], [2]), ["item 1 of entries"])
    assert rows(listed_in_task({**TASK, "keys": [1, 2]})) == ([1, 2], None)
    assert rows(listed_in_task({**TASK, "entries": [{"key": 1}], "state": "absent"})) == ([1], None)
    with pytest.raises(
        FleetError, match=r"item 1 of entries is \{'key': 1}: give it a key and a value, and nothing else"
    ):
        listed_in_task({**TASK, "entries": [{"key": 1}]})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_plain_numbers_are_the_texts_that_the_table_has(end: str) -> None:
    """They are read as numbers, at once; what has leading zeros is none, as "010" is not 10."""
    assert rows(of_file(end.join(["key,value", "10,0", "9" * 20 + ",1", ""]), "csv")) == (
        ["10", "9" * 20],
        ["0", "1"],
    )
    assert rows(of_file(end.join(["key,value", "010,1"]), "csv")) == (["010"], ["1"])
    assert refused(end.join(["key,value", "1,2", "3"]), "csv").endswith("line 3 has 1 columns, the first line has 2")
    assert refused(end.join(["key,value", "1,2", "3,,4"]), "csv").endswith("line 3 has 3 columns, the first line has 2")

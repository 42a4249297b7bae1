# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries as users list them: in the task, or in a file on the host. Not typed yet."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import csv
import itertools
import json
import re
import typing as t

from ..errors import FleetError
from ..values.columns import PORTION, Columns, Numerals

FORMATS = ("lines", "json", "csv")
_LETTERS = 1 << 16  # of a table that are read at once
_END = "\n"
_NUMERALS = re.compile(r"[0-9,\n]+")
T = t.TypeVar("T")


class Portion(t.NamedTuple):
    """Some keys, and their values: one for each, or None if all have the same. `numbers`: of their items or lines."""

    numbers: t.Sequence[int]
    keys: t.Sequence[t.Any]
    values: t.Optional[t.Sequence[t.Any]]


class Listed(t.NamedTuple):
    """What is listed in `source`, read anew by each call: a list may have a million rows, which take much memory.

    `word`: what the source has, items or lines. portions() raises FleetError if it cannot be read.
    """

    source: str
    word: str
    portions: t.Callable[[], t.Iterator[Portion]]

    def place(self, number: int) -> str:
        return f"{self.word} {number} of {self.source}"


def listed_in_task(options: t.Mapping[str, t.Any]) -> Listed:
    """Of the options `entries`, or `keys`. Raises FleetError."""
    if options["keys"] is not None:
        return _items("keys", options["keys"], None)
    entries = options["entries"] or []
    for number, each in enumerate(entries):
        _check_entry(each, f"item {number + 1} of entries", options["state"] == "absent")
    values = None if options["state"] == "absent" else [each["value"] for each in entries]
    return _items("entries", [each["key"] for each in entries], values)


def listed_in_file(path: str, content: bytes, kind: str, members: "Members") -> Listed:
    """`kind`: one of FORMATS. Raises FleetError."""

    def portions() -> t.Iterator[Portion]:
        with _read_as(path, kind):
            yield from made.portions()

    with _read_as(path, kind):
        text = content.decode("utf-8-sig")
        if kind == "lines":
            made = _lines(path, text)
        elif kind == "csv":
            made = _table(path, text, members)
        else:
            made = _json(path, text)
    return made._replace(portions=portions)


@contextlib.contextmanager
def _read_as(path: str, kind: str) -> t.Iterator[None]:
    try:
        yield
    except (ValueError, RecursionError, csv.Error) as error:
        raise FleetError(f"{path} cannot be read as {kind}: {error}") from error


def _check_entry(entry: t.Any, place: str, without_value: bool = False) -> None:
    needed = {"key"} if without_value else {"key", "value"}
    if not isinstance(entry, dict) or not needed <= entry.keys() <= {"key", "value"}:
        raise FleetError(f"{place} is {entry!r:.100}: give it a key and a value, and nothing else")


def _items(source: str, keys: t.Sequence[t.Any], values: t.Optional[t.Sequence[t.Any]]) -> Listed:
    return _in_portions(source, "item", range(1, len(keys) + 1), keys, values)


def _in_portions(
    source: str, word: str, numbers: t.Sequence[int], keys: t.Sequence[t.Any], values: t.Optional[t.Sequence[t.Any]]
) -> Listed:
    def portions() -> t.Iterator[Portion]:
        for at in range(0, len(keys), PORTION):
            some = slice(at, at + PORTION)
            yield Portion(numbers[some], keys[some], None if values is None else values[some])

    return Listed(source, word, portions)


def _lines(path: str, text: str) -> Listed:
    """A key in each line; a comment begins with # and goes to the end of its line."""
    lines = [(line.partition("#")[0] if "#" in line else line).strip() for line in text.split("\n")]
    numbers = [number for number, line in enumerate(lines, 1) if line]
    return _in_portions(path, "line", numbers, [line for line in lines if line], None)


def _json(path: str, text: str) -> Listed:
    """A list of entries, a list of keys, or values by key."""
    found = json.loads(text)
    if isinstance(found, dict):
        return _items(path, list(found), list(found.values()))
    if not isinstance(found, list):
        raise ValueError("it is neither a list nor a dictionary")
    if not any(isinstance(each, dict) and "value" in each for each in found):
        return _items(path, found, None)
    for number, each in enumerate(found):
        _check_entry(each, f"item {number + 1} of {path}")
    return _items(path, [each["key"] for each in found], [each["value"] for each in found])


class Members(t.NamedTuple):
    """The names that a column of a table may have: those of members, empty if the type has none."""

    key: t.FrozenSet[str]
    value: t.FrozenSet[str]


def _table(path: str, text: str, members: Members) -> Listed:
    """The first line names the columns: key, value, or members of them."""
    plain = not ('"' in text or "\0" in text)
    if plain:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n", 1)[:1] if plain else text.splitlines(keepends=True)
    columns = [_column(name.strip(), members) for name in next(csv.reader(lines), [])]
    if not any(side == "key" for side, _member in columns):
        raise ValueError("no column is the key or a member of it; the first line must name the columns")
    _check_apart([f"{side}.{member}".rstrip(".") for side, member in columns])

    def portions() -> t.Iterator[Portion]:
        width = len(columns)
        for numbers, cells in _plain_portions(text, width) if plain else _portions(_behind_names(lines), width):
            sides = _sides(columns, cells)
            yield Portion(numbers, sides["key"], sides.get("value"))

    return Listed(path, "line", portions)


_Cells = t.Tuple[t.Sequence[int], t.Iterable[t.Sequence[str]]]  # numbers of lines, and their cells by column


def _plain_portions(text: str, width: int) -> t.Iterator[_Cells]:
    """Of a table without quotes: each line behind that of the names is a row."""
    at, before = text.find("\n") + 1 or len(text), 1
    while at < len(text):
        end = text.find("\n", at + _LETTERS) + 1 or len(text)
        columns = _columns(text[at : end - text.endswith("\n", at, end)], width)
        lines = text[at:end].splitlines() if columns is None else columns[0]
        if columns is None:
            yield from _portions(csv.reader(lines), width, before)
        else:
            yield range(before + 1, before + 1 + len(lines)), columns
        at, before = end, before + len(lines)


def _columns(lines: str, width: int) -> t.Optional[t.List[t.Sequence[str]]]:
    """The cells of lines without quotes; None if there are blanks or empty cells, or a line has more or fewer."""
    if _NUMERALS.fullmatch(lines):
        with contextlib.suppress(ValueError):  # leading zeros, as Python and JSON do not read them as numbers
            numbers = _by_column(json.loads(f"[{lines.replace(_END, ',-1,')}]"), -1, lines, width)
            return numbers and [Numerals(column) for column in numbers]
    joined = lines.replace(_END, ",\0,")
    cells = joined.split(",")
    if joined.split(None, 1) != [joined] or "" in cells or len(joined) > csv.field_size_limit():
        return None
    return _by_column(cells, "\0", lines, width)


def _by_column(cells: t.Sequence[T], between: T, lines: str, width: int) -> t.Optional[t.List[t.Sequence[T]]]:
    """`between`: what stands between the cells of two lines. None if one has more or fewer than `width`."""
    if len(cells) != (lines.count(_END) + 1) * (width + 1) - 1:
        return None
    if {between}.union(cells[width :: width + 1]) != {between}:
        return None
    return [cells[column :: width + 1] for column in range(width)]


def _behind_names(lines: t.Sequence[str]) -> t.Any:
    rows = csv.reader(lines)
    next(rows)
    return rows


def _portions(rows: t.Any, width: int, before: int = 0) -> t.Iterator[_Cells]:
    """Of a csv.reader, without rows that are empty. `before`: how many lines are before those that it reads."""
    end = before + rows.line_num
    for some in iter(lambda: list(itertools.islice(rows, PORTION)), []):
        begin, end = end, before + rows.line_num
        lines: t.Sequence[int] = range(begin + 1, end + 1)
        if len(lines) != len(some):  # a cell in quotes may have several lines
            heights = (1 + sum(cell.count("\n") for cell in row) for row in some)
            lines = list(itertools.accumulate(heights, initial=begin))[1:]
        if not all(map(any, some)):
            filled = [each for each in zip(lines, some) if any(each[1])]
            lines, some = [number for number, _row in filled], [row for _number, row in filled]
        if set(map(len, some)) - {width}:
            _check_widths(zip(lines, some), width)
        if some:
            yield lines, ([cell.strip() for cell in cells] for cells in zip(*some))


def _check_widths(rows: t.Iterable[t.Tuple[int, t.Sequence[str]]], width: int) -> None:
    for number, row in rows:
        if len(row) != width:
            raise ValueError(f"line {number} has {len(row)} columns, the first line has {width}")


def _sides(
    columns: t.Sequence[t.Tuple[str, str]], cells: t.Iterable[t.Sequence[str]]
) -> t.Dict[str, t.Sequence[t.Any]]:
    """The keys, and the values if there are any."""
    tree: t.Dict[str, t.Any] = {}
    for (side, member), column in zip(columns, cells):
        _put(tree, [side, *filter(None, member.split("."))], column)
    return {side: _by_member(found) for side, found in tree.items()}


def _by_member(found: t.Any) -> t.Sequence[t.Any]:
    """Columns, where a side has members, and where these have some."""
    if isinstance(found, dict):
        return Columns({name: _by_member(each) for name, each in found.items()})
    return t.cast(t.Sequence[str], found)


def _column(name: str, members: Members) -> t.Tuple[str, str]:
    """Whether a column is of the key or of the value, and of which member; "" if it is the whole."""
    side, _dot, member = name.partition(".")
    if side in ("key", "value"):
        return side, member
    found = [each for each, names in members._asdict().items() if side in names]
    if len(found) != 1:
        known = ", ".join(sorted(members.key | members.value)) or "none"
        why = "is a member of key and of value: write key.NAME or value.NAME" if found else "is not known"
        raise ValueError(f"the column {name!r} {why}; there are key, value, and the members {known}")
    return found[0], name


def _check_apart(paths: t.Sequence[str]) -> None:
    ordered = sorted(f"{path}." for path in paths)
    for one, other in zip(ordered, ordered[1:]):
        if other.startswith(one):
            raise ValueError(f"{one[:-1]} and {other[:-1]} are both columns, but give the same member")


def _put(tree: t.Dict[str, t.Any], path: t.Sequence[str], value: t.Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value

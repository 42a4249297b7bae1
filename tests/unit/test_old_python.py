# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code sent to targets runs on Python 3.8. vermin checks modules and syntax; this checks what needs types."""

from __future__ import annotations

import ast
import pathlib
import typing as t

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
SENT = sorted([*(PLUGINS / "modules").rglob("*.py"), *(PLUGINS / "module_utils").rglob("*.py")])
NEWER_METHODS = {"removeprefix", "removesuffix", "bit_count", "is_relative_to", "with_stem", "hardlink_to"}
BUILTINS = {"dict", "frozenset", "list", "set", "tuple", "type"}


def too_new(source: str) -> t.Iterator[str]:
    """Lines, and what is too new in them. Annotations count even if they are not evaluated here."""
    tree = ast.parse(source, feature_version=(3, 8))
    if "from __future__ import annotations" not in source:
        yield from _evaluated(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in NEWER_METHODS:
            yield f"{node.lineno}: .{node.attr}()"
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in BUILTINS:
            yield f"{node.lineno}: {node.value.id}[…]; take typing's"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and side.value is None:
                    yield f"{node.lineno}: … | None; take typing's Optional"


def _evaluated(tree: ast.AST) -> t.Iterator[str]:
    """Of annotations that are evaluated: classes that took no types in brackets before Python 3.9."""
    for node in ast.walk(tree):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for each in (part for annotation in found if annotation for part in ast.walk(annotation)):
            if isinstance(each, ast.Subscript) and not ast.unparse(each.value).startswith("t."):
                yield f"{each.lineno}: {ast.unparse(each)}; quote it"


@pytest.mark.parametrize("path", SENT, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_nothing_is_too_new(path: pathlib.Path) -> None:
    assert list(too_new(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "name.removeprefix('a')",
        "x: list[int] = []",
        "def f(x: int | None): ...",
        "Names = tuple[str, ...]",
        "def f() -> t.List[os.DirEntry[str]]: ...",
        "def f(x: re.Match[str]): ...",
    ],
)
def test_what_is_too_new_is_found(line: str) -> None:
    assert list(too_new(line))


def test_what_is_not_evaluated_may_be_newer() -> None:
    assert not list(too_new("def f() -> 't.List[os.DirEntry[str]]': ..."))
    assert not list(too_new("from __future__ import annotations\ndef f() -> t.List[os.DirEntry[str]]: ..."))


@pytest.mark.parametrize("line", ["match x:\n  case 1: ...", "with (open(a) as b, open(c) as d): ..."])
def test_newer_syntax_is_found(line: str) -> None:
    with pytest.raises(SyntaxError):
        list(too_new(line))

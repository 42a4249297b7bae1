# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What documents name exists: files, headings, tests, and targets of the Makefile."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(path for each in ("", "docs/", "roles/*/", "examples/*/") for path in ROOT.glob(f"{each}*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`(?:[^`\n]|\n(?!\n))+`", re.M | re.S)
TESTS = {
    name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.M)
}
RULES = re.findall(r"^([a-z][\w -]*):(?!=)", (ROOT / "Makefile").read_text(), flags=re.M)
TARGETS = {target for rule in RULES for target in rule.split()}


def links(path: pathlib.Path) -> t.Iterator[str]:
    """Targets of links to files and headings, except in code."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.M | re.S)
    return (target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target))


def headings(path: pathlib.Path) -> t.Set[str]:
    """Anchors that GitHub makes from headings, and explicit ones."""
    text = path.read_text()
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    made = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: pathlib.Path) -> None:
    for target in links(document):
        name, _hash, anchor = target.partition("#")
        there = document.parent / name if name else document
        assert there.exists(), f"{document.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in headings(there), f"{document.name} links to {target}: there is no such heading"


def missing(text: str) -> t.Iterator[str]:
    """What a document names in code but does not exist: tests, files below tests/, targets of the Makefile."""
    for code in CODE.findall(text):
        yield from (name for name in re.findall(r"\btest_\w+\b(?!\.py)", code) if name not in TESTS)
        for path in re.findall(r"\btests/[\w./*-]*", code):
            if not any(ROOT.glob(path.replace("NAME", "*"))):  # tests/integration/test_NAME.py is a placeholder
                yield path
        yield from (f"make {name}" for name in re.findall(r"\bmake ([a-z][\w-]*)", code) if name not in TARGETS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_tests_and_make_targets_exist(document: pathlib.Path) -> None:
    assert list(missing(document.read_text())) == [], document.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`test_links_lead_somewhere`, `tests/unit/test_links.py`, `tests/unit/`, `make test-kernels KERNELS=6.1`", []),
        ("Tests make sure of that; test_nothing is not code.", []),
        ("see `test_no_such_test`", ["test_no_such_test"]),
        ("see `tests/unit/test_no_such_file.py`", ["tests/unit/test_no_such_file.py"]),
        ("run `make\ntest`, `X=1 make tset`", ["make tset"]),
        ("```console\n$ make dmeo\n```", ["make dmeo"]),
    ],
)
def test_what_does_not_exist_is_found(text: str, expected: t.List[str]) -> None:
    assert list(missing(text)) == expected

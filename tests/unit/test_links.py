# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What documents name exists: files, headings, tests, and targets of the Makefile."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


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

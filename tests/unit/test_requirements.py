# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/requirements-*.txt, which root installs: each is made from its .in file, and all fit into one environment."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
from packaging.requirements import Requirement

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
RANGES = sorted(TOOLS.glob("requirements-*.in"))
PINNED = sorted(TOOLS.glob("requirements-*.txt"))


def ranges(path: pathlib.Path) -> t.List[Requirement]:
    found = []
    for line in path.read_text().splitlines():
        included = re.fullmatch(r"-r (\S+)", line)
        found += ranges(TOOLS / included[1]) if included else [Requirement(line)]
    return found


def pins(path: pathlib.Path) -> t.List[t.Tuple[Requirement, t.List[str]]]:
    """Each with its hashes."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", "")
    lines = [line for line in text.splitlines() if not re.fullmatch(r"-r requirements-\w+\.txt", line)]
    found = [re.split(r"\s+--hash=", line) for line in lines]
    return [(Requirement(words[0]), words[1:]) for words in found]


@pytest.mark.parametrize("path", RANGES, ids=lambda path: path.name)
def test_what_is_wanted_is_pinned_in_its_range(path: pathlib.Path) -> None:
    found = pins(path.with_suffix(".txt"))
    for wanted in ranges(path):
        versions = [str(pin.specifier)[2:] for pin, _hashes in found if pin.name == wanted.name]
        assert versions, f"{wanted.name}: type `make requirements`"
        assert all(wanted.specifier.contains(each) for each in versions), f"{wanted}: type `make requirements`"


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_each_has_one_version_and_hashes(path: pathlib.Path) -> None:
    assert "index-url" not in path.read_text() and "find-links" not in path.read_text()
    for pin, hashes in pins(path):
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), pin


def test_all_agree() -> None:
    """They are installed into the same environment, one after the other."""
    versions: t.Dict[str, t.Set[str]] = {}
    for path in PINNED:
        by_name: t.Dict[str, t.Set[str]] = {}
        for pin, _hashes in pins(path):
            by_name.setdefault(pin.name, set()).add(str(pin.specifier))
        for name, found in by_name.items():
            assert versions.setdefault(name, found) == found, f"{name}: type `make requirements`"

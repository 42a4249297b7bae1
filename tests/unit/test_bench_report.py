# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""results.json of the benchmark: a run of some sections leaves the figures of the others."""

from __future__ import annotations

import json
import pathlib

import pytest
from report import SECTIONS, Row, record, with_bars


def row(name: str, value: float) -> Row:
    return Row("a heading", name, value, "s", "make bench", goal="at most 2", met=value <= 2)


def test_sections_that_were_not_measured_keep_their_figures(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "results.json")
    record({"maps": [row("written", 1), row("unchanged", 1)], "cost": [row("a packet", 1)]}, {"cpu": "one"}, True, path)
    with_bars(path)
    assert "\n`make bench MODE=full` on one.\n" in capsys.readouterr().out
    record({"maps": [row("written", 3)]}, {"cpu": "another"}, False, path)
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    names = {name: [(each["name"], each["value"]) for each in section["rows"]] for name, section in found.items()}
    assert names == {"cost": [("a packet", 1)], "maps": [("written", 3)]}
    assert list(names) == sorted(names, key=SECTIONS.index)
    with_bars(path)
    shown = capsys.readouterr().out
    assert "cost: `make bench MODE=full` on one." in shown and "maps: `make bench` on another." in shown

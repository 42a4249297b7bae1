# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a host last kept itself, as metrics."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics import pulled
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.exposition import text

KEPT = {"at": 9, "commit": "b2", "problem": None, "kept_at": 9, "kept_commit": "b2"}
FAILED = {"at": 12, "commit": "c3", "problem": "no route", "kept_at": 9, "kept_commit": "b2"}
WORDS = ["ebpf_fleet_pull_timestamp_seconds 9", 'ebpf_fleet_pull_info{commit="b2"} 1']


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (json.dumps(KEPT), ["ebpf_fleet_pull_failed 0", *WORDS]),
        (json.dumps(FAILED), ["ebpf_fleet_pull_failed 1", *WORDS]),
        (json.dumps({**FAILED, "kept_at": None, "kept_commit": None}), ["ebpf_fleet_pull_failed 1"]),
        ("", []),
        ("{", []),
        ("[1]", []),
    ],
)
def test_what_the_last_run_came_to(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, content: str, lines: list[str]
) -> None:
    (tmp_path / "last.json").write_text(content)
    monkeypatch.setattr(pulled, "PULLED", str(tmp_path / "last.json"))
    written = text(pulled.about_pulling()).decode().splitlines()
    assert [line for line in written if not line.startswith("#")] == lines

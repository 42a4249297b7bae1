# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks print."""

from __future__ import annotations

import pathlib
import typing as t

import jinja2
import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.border.text import one_line

TEMPLATES = pathlib.Path(__file__).parents[2] / "playbooks/templates"


@pytest.mark.parametrize(
    ("facts", "mode"),
    [
        ({"mode": "native", "moved": False}, "native"),
        ({"mode": None, "moved": False}, "detached"),
        ({"mode": None, "moved": True}, "moved"),  # it counts on
        ({"mode": None}, "detached"),
    ],
)
def test_the_mode_of_a_counter(facts: t.Dict[str, t.Any], mode: str) -> None:
    row = {"host": "web1", "interface": "eth0", "packets": 7, "bytes": 448, "packets_per_second": None, **facts}
    environment = jinja2.Environment(trim_blocks=True)
    environment.filters["ebpf.fleet.one_line"] = one_line
    template = environment.from_string((TEMPLATES / "counters.txt.j2").read_text())
    _heading, line = template.render(rows=[row], not_read={}).splitlines()
    assert line.split() == ["web1", "eth0", mode, "7", "448", "-"]

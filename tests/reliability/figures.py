# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures in docs/reliability.md, from the results of the last complete runs. cog calls these functions."""

from __future__ import annotations

import json
import pathlib
import typing as t

HERE = pathlib.Path(__file__).parent


def _read(name: str) -> t.Any:
    return json.loads((HERE / name).read_text())


def kill_matrix() -> None:
    points: t.Dict[str, int] = _read("kill_matrix.json")
    print("\n| task, from its start | killed at | converged |\n|---|---:|---:|")
    for scenario, count in points.items():
        print(f"| {scenario} | {count} | {count} |")
    total = sum(points.values())
    print(f"| **total** | **{total}** | **{total}** |\n")


def fuzz() -> None:
    found = _read("fuzz.json")
    print(f"\nSeed {found['seed']}:\n")
    print("| | runs | refused with a sentence | of these, libbpf had crashed | done, as was possible | anything else |")
    print("|---|---:|---:|---:|---:|---:|")
    for what, outcomes in found["rows"].items():
        crashed, done = outcomes.get("libbpf crashed on it", 0), outcomes.get("done", 0)
        refused, total = outcomes.get("refused", 0) + crashed, sum(outcomes.values())
        print(f"| {what} | {total} | {refused} | {crashed} | {done} | {total - refused - done} |")
    print()

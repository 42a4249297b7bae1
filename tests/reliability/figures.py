# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures in docs/reliability.md, from the results of the last complete runs. cog calls these functions."""

from __future__ import annotations

import json
import pathlib
import typing as t

# The maps of tests/integration/bpf/maps.bpf.c whose names are not their types.
_TYPES = {
    "lru_of_cpus": "lru_hash, lists by CPU",
    "inner_array": "array in an array_of_maps",
    "inner_hash": "array in a hash_of_maps",
    "calls": "prog_array that the object fills",
    "calls_from_outside": "prog_array filled from outside",
    ".data.named": ".data.NAME",
}

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


def upgrades() -> None:
    """What an upgrade does with maps, as the checks on other kernels found it (tests/kernels/upgrades.py)."""
    kernels: t.Dict[str, t.Any] = _read("upgrades.json")
    found = {label: kernel["rows"] for label, kernel in kernels.items()}
    print(f"\nOn kernels {' and '.join(kernel['kernel'].partition('-')[0] for kernel in kernels.values())}:\n")
    print("| map or section | a different program, same maps | a size has changed | names have changed places |")
    print("|---|---|---|---|")
    for name in dict.fromkeys(name for rows in found.values() for name in rows):
        cells = []
        for column in range(3):
            by_kernel = {label: rows[name][column] for label, rows in found.items() if name in rows}
            same = set(by_kernel.values())
            cells.append(same.pop() if len(same) == 1 else "; ".join(f"{k}: {v}" for k, v in by_kernel.items()))
        missing = [label for label, rows in found.items() if name not in rows]
        print(f"| {_TYPES.get(name, name)}{f' (not in {missing[0]})' if missing else ''} | {' | '.join(cells)} |")
    print()


def files() -> None:
    """Owner and mode of what is written, as tests/security/test_files.py found it."""
    table: t.Dict[str, t.Dict[str, str]] = _read("files.json")
    print(f"\n| path | {' | '.join(f'with {column}' for column in table)} |\n|---|{'---|' * len(table)}")
    for path in sorted({path for rows in table.values() for path in rows}):
        print(f"| `{path}` | {' | '.join(rows.get(path, '—') for rows in table.values())} |")
    print()

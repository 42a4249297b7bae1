# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long list of prefixes on its way from a file of the controller onto a host, by a play with the role xdp."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import pathlib
import re
import sys
import typing as t

from fleets import Fleet
from packets import COMMAND
from paths import ROOT
from report import Row

PREFIXES = 100_000
CHANGED = 100  # one of so many
SECTION = f"{PREFIXES:,} prefixes onto a host (a network namespace), by ansible-playbook and the role xdp"


def blocking(folder: pathlib.Path) -> t.List[Row]:
    with contextlib.closing(Fleet(folder, 1)) as fleet:
        folder = fleet.folder
        (folder / "blocklist.yml").write_text(json.dumps(_play(folder)))
        prefixes = [_prefix(number) for number in range(PREFIXES)]
        first = _seconds(fleet, prefixes, (PREFIXES, 0))
        unchanged = _seconds(fleet, prefixes, (0, 0))
        prefixes[::CHANGED] = [_prefix(PREFIXES + number) for number in range(0, PREFIXES, CHANGED)]
        changed = _seconds(fleet, prefixes, (PREFIXES // CHANGED,) * 2)
    return [
        Row(SECTION, name, value, "s", COMMAND)
        for name, value in (
            ("the program and its list", first),
            ("the same list again", unchanged),
            (f"one prefix in {CHANGED} is another, and only those are written", changed),
        )
    ]


def _prefix(number: int) -> str:
    return f"{ipaddress.IPv4Address(10 << 24 | number << 4)}/28"


def _play(folder: pathlib.Path) -> t.List[t.Dict[str, t.Any]]:
    """As examples/blocklist has it."""
    program = {
        "name": "blocklist",
        "source": str(ROOT / "examples/blocklist/blocklist.bpf.c"),
        "interfaces": ["eth0"],
        "files": [{"src": f"{folder}/block4.txt", "dest": "{{ xdp_directory }}/block4.txt"}],
        "map_entries": [{"map": "block4", "src": "{{ xdp_directory }}/block4.txt", "exclusive": True}],
    }
    where = {"xdp_directory": f"{folder}/host", "xdp_controller_directory": f"{folder}/controller"}
    settings = {**where, "xdp_build": "controller", "xdp_programs": [program]}
    return [{"hosts": "all", "gather_facts": False, "roles": ["ebpf.fleet.xdp"], "vars": settings}]


def _seconds(fleet: Fleet, prefixes: t.Sequence[str], written: t.Tuple[int, int]) -> float:
    """Of a run that adds and removes so many, and says so."""
    (fleet.folder / "block4.txt").write_text("\n".join(prefixes))
    log = fleet.folder / "log"
    run = fleet.play(str(fleet.folder / "blocklist.yml"), "-v", ANSIBLE_LOG_PATH=str(log))
    found = re.search(r"add (\d+)(?:, remove (\d+))? of the entries of block4", log.read_text())
    log.unlink()
    said = (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)
    if said != written:
        sys.exit(f"bench: the host was to add and remove {written} prefixes, and says {said}")
    return run.wall

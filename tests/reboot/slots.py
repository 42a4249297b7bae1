# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a program with lists in the slots of maps of maps, by what bpftool finds in the guest."""

from __future__ import annotations

import base64
import pathlib
import shutil
import typing as t

from blocklist import ROOT, prefix_of
from checks import PINS, expect
from machine import Machine
from processes import run

INTERFACE = "p-lan0"
MAPS = PINS / "slots" / INTERFACE / "maps"
OBJECT = "/usr/local/lib/ebpf_fleet/slots.bpf.o"
PREFIXES = ["198.51.100.0/24", "203.0.113.7/32"]
ADDED = "192.0.2.0/24"  # by bpf_map
ZONE, ZONE_KEY = {"vlan": 7, "number": 1}, ["0x00", "0x07", "0x01", "0x00"]  # the VLAN is in network order


class Slots:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def deploys(self, work: pathlib.Path) -> str:
        """The source leaves these slots empty. One is filled by a second task as well."""
        shutil.copy(ROOT / "tests/integration/bpf/slots.bpf.c", work)
        run("make", "-s", "-f", ROOT / "files/bpf/Makefile", "slots.bpf.o", cwd=work)
        entries = [
            {"map": "lists", "slot": 1, "keys": PREFIXES, "value": 1, "exclusive": True},
            {"map": "zones", "slot": ZONE, "entries": [{"key": 5, "value": 6}]},
        ]
        content = base64.b64encode((work / "slots.bpf.o").read_bytes()).decode()
        options: t.Dict[str, t.Any] = {"object": OBJECT, "content": content, "interfaces": [INTERFACE]}
        done = self.machine.task("xdp_program", mode="generic", persist="true", map_entries=entries, **options)
        expect(done.get("changed"), True, f"{done.get('msg', 'changed')}")
        done = self.machine.task("bpf_map", name="slots", map="lists", slot=1, keys=[ADDED], value=1, persist="true")
        expect(done.get("added"), 1, f"{done.get('msg', 'entries added')}")
        return self.are_filled()

    def are_filled(self) -> str:
        lists, zones = self._in_slots("lists"), self._in_slots("zones")
        (one,) = (number for key, number in lists if key == ["0x01", "0x00", "0x00", "0x00"])
        expect([key for key, _number in zones], [ZONE_KEY], "slots of zones that have a map")
        prefixes, numbers = self.machine.json(
            f"bpftool --json map dump id {one}; bpftool --json map dump id {zones[0][1]}"
        )
        expect(sorted(prefix_of(each["formatted"]["key"]) for each in prefixes), sorted([*PREFIXES, ADDED]), "slot 1")
        expect([each["formatted"] for each in numbers], [{"key": 5, "value": 6}], f"slot {ZONE}")
        return f"{len(prefixes)} prefixes in slot 1 of lists, and the entry of {ZONE}"

    def removes(self) -> str:
        done = self.machine.task("xdp_program", object=OBJECT, name="slots", state="absent")
        expect(done.get("changed"), True, f"{done.get('msg', 'changed')}")
        self.machine.sh(f"rm {OBJECT}")
        return "; ".join(done["steps"])

    def _in_slots(self, name: str) -> t.List[t.Tuple[t.List[str], int]]:
        """Keys, and the ids of the maps."""
        (rows,) = self.machine.json(f"bpftool --json map dump pinned {MAPS / name}")
        filled = [(each["key"], each["value"]) for each in rows if "error" not in each["value"]]
        return [(key, sum(int(byte, 16) << 8 * at for at, byte in enumerate(number))) for key, number in filled]

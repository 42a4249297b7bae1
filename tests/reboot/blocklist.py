# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a program with a setting and lists, examples/blocklist on wan0, by what bpftool finds in the guest."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import pathlib
import re
import shutil
import struct
import threading
import typing as t

from checks import PINS, expect
from machine import Machine
from processes import run
from view import View

WAN = "wan0"
ROOT = pathlib.Path(__file__).resolve().parents[2]
MAPS = PINS / "blocklist" / WAN / "maps"
PASSED, ALLOWED, BLOCKED, NOT_DROPPED, NOT_IP = range(5)  # enum verdict in the source
LISTED = {"block4": ["198.51.100.0/24", "203.0.113.7/32"], "block6": ["2001:db8:bad::/48"]}
FILE = "/root/block4.txt"
OBJECT = "/usr/local/lib/ebpf_fleet/blocklist.bpf.o"
ADDED = "2001:db8:feed::/48"  # by bpf_map
SECONDS_APART = 0.01  # of two frames; Python in the guest takes longer for anything between attaching and filling
ROLLBACK_SECONDS = 15


class Blocklist:
    def __init__(self, machine: Machine, view: View) -> None:
        self.machine = machine
        self.view = view

    # Before the reboot

    def deploys(self, work: pathlib.Path) -> str:
        """`enforce` is not what the source begins with, so a program that runs without its settings drops."""
        shutil.copy(ROOT / "examples/blocklist/blocklist.bpf.c", work)
        run("make", "-s", "-f", ROOT / "files/bpf/Makefile", "blocklist.bpf.o", cwd=work)
        self.machine.sh(f"printf '%s\\n' {' '.join(LISTED['block4'])} >{FILE}")
        content = base64.b64encode((work / "blocklist.bpf.o").read_bytes()).decode()
        self._deploy(enforce=False, content=content)
        return self._declared(enforce=False)

    def adds(self) -> str:
        """A prefix that only bpf_map declares."""
        done = self.machine.task("bpf_map", name="blocklist", map="block6", keys=[ADDED], persist="true")
        expect(done.get("added"), 1, f"{done.get('msg', 'entries added')}")
        return self._declared(enforce=False, added=True)

    @contextlib.contextmanager
    def frames(self) -> t.Iterator[None]:
        """From listed addresses, all the time."""
        over = threading.Event()
        frames = [frame_from("198.51.100.9"), frame_from("2001:db8:bad::9"), frame_from("2001:db8:feed::9")]

        def send() -> None:
            while not over.wait(SECONDS_APART):
                frames.append(frames.pop(0))
                self.machine.send_frame(frames[0])

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            over.set()
            sender.join()

    # Rebooted

    def is_restored(self) -> str:
        """By the program's own counts. None passed: it had its lists; none dropped: it had its setting."""
        declared = self._declared(enforce=False, added=True)
        counts = self._verdicts()
        expect([counts[each] for each in (PASSED, ALLOWED, BLOCKED)], [0, 0, 0], "packets passed, allowed and dropped")
        expect(counts[NOT_DROPPED] > 0, True, "any packet from a listed address")
        earlier = int(self.machine.sh(f"cat /sys/class/net/{WAN}/statistics/rx_packets")) - sum(counts)
        return f"0 of {counts[NOT_DROPPED]} passed; {earlier} came before it was attached; {declared}"

    def sees_others(self) -> str:
        """The check before this one would have seen a packet without a list."""
        before = self._verdicts()
        for source in ("192.0.2.250", "198.51.101.9", "2001:db8::9"):
            self.machine.send_frame(frame_from(source))
        # The first is in the allow list, the others are in none.
        added = [after - earlier for after, earlier in zip(self._verdicts(), before)]
        expect(added, [2, 1, 0, 0, 0], "packets more")
        return "2 passed, 1 allowed"

    def locks_out(self) -> str:
        """Over SSH on the interface that drops all of it then."""
        self._deploy("wan", enforce=True, rollback_after=60)
        before = self._enforced()
        everything = {"map": "block4", "keys": ["0.0.0.0/0"], "rollback_after": ROLLBACK_SECONDS}
        done = self.machine.task("bpf_map", "wan", name="blocklist", **everything)
        said = str(done.get("msg"))
        expect((done["failed"], done.get("changed", False)), (True, False), f"failed and changed ({said})")
        expect(bool(re.search("not confirmed.*reachable again", said)), True, f"the reason in {said!r}")
        expect(self._verdicts()[BLOCKED] > 0, True, "any packet of SSH dropped")
        expect(self.machine.sh("cat /sys/class/net/wan0/address", way="wan"), "52:54:00:00:00:03\n", "over SSH, again")
        expect(self._enforced(), before, "lists, and files for the next boot")
        return said

    def removes(self) -> str:
        done = self.machine.task("xdp_program", object=OBJECT, name="blocklist", state="absent")
        expect(done.get("changed"), True, f"{done.get('msg', 'changed')}")
        self.machine.sh(f"rm {OBJECT} {FILE}")
        return "; ".join(done["steps"])

    def _enforced(self) -> t.Tuple[str, str]:
        return self._declared(enforce=True), self.view.persistent()

    def _deploy(self, way: str = "guest", *, enforce: bool, **options: t.Any) -> None:
        entries = [
            {"map": "allow4", "keys": ["192.0.2.0/24"], "exclusive": True},
            {"map": "block4", "src": FILE, "exclusive": True},
            {"map": "block6", "keys": LISTED["block6"], "exclusive": True},
        ]
        options.update(object=OBJECT, interfaces=[WAN], variables={"enforce": enforce}, map_entries=entries)
        done = self.machine.task("xdp_program", way, persist="true", **options)
        expect(done.get("changed"), True, f"{done.get('msg', 'changed')}")

    def _declared(self, enforce: bool, added: bool = False) -> str:
        """Setting and lists, as bpftool finds them."""
        expect(self._enforce(), enforce, "enforce")
        found = self._prefixes()
        expect(found, {**LISTED, "block6": sorted([*LISTED["block6"], *([ADDED] if added else [])])}, "lists")
        return f"enforce {str(enforce).lower()}, {sum(map(len, found.values()))} prefixes"

    def _enforce(self) -> bool:
        """Of the program that is attached. The section with its constants is not pinned."""
        link, programs, maps = self.machine.json(
            f"bpftool --json link show pinned {MAPS.parent}/link; bpftool --json prog show; bpftool --json map show"
        )
        (its,) = (each["map_ids"] for each in programs if each["id"] == link["prog_id"])
        (number,) = (each["id"] for each in maps if each["id"] in its and each.get("name", "").endswith(".rodata"))
        ((section,),) = self.machine.json(f"bpftool --json map dump id {number}")
        found: bool = next(each["enforce"] for each in section["formatted"]["value"][".rodata"] if "enforce" in each)
        return found

    def _prefixes(self) -> t.Dict[str, t.List[str]]:
        dumps = zip(LISTED, self._dumps(*LISTED))
        return {name: sorted(prefix_of(entry["formatted"]["key"]) for entry in entries) for name, entries in dumps}

    def _verdicts(self) -> t.List[int]:
        """Packets by verdict, of all CPUs."""
        (entries,) = self._dumps("verdicts")
        return [sum(cpu["value"]["packets"] for cpu in entry["formatted"]["values"]) for entry in entries]

    def _dumps(self, *names: str) -> t.List[t.Any]:
        return self.machine.json("; ".join(f"bpftool --json map dump pinned {MAPS / name}" for name in names))


def prefix_of(key: t.Mapping[str, t.Any]) -> str:
    packed = bytes(int(str(each), 0) for each in key["address"])
    return f"{ipaddress.ip_address(packed)}/{key['length']}"


def frame_from(source: str) -> bytes:
    """To all, with a packet for nobody: the guest does not answer it."""
    address = ipaddress.ip_address(source)
    if address.version == 4:
        packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20, 0, 0, 64, 253, 0, address.packed, bytes([192, 0, 2, 1]))
    else:
        packet = struct.pack("!IHBB16s16s", 6 << 28, 0, 59, 64, address.packed, bytes(15) + b"\1")
    kind = 0x0800 if address.version == 4 else 0x86DD
    return b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + struct.pack("!H", kind) + packet.ljust(46, b"\0")

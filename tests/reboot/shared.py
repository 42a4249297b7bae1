# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of programs that share an interface, in one dispatcher on wan0, by what ip and bpftool find in the guest.

Two that pass all packets, and between them, for a while, one that drops them.
"""

from __future__ import annotations

import base64
import pathlib
import re
import shutil
import time
import typing as t

from blocklist import ROLLBACK_SECONDS, ROOT, WAN, frame_from
from checks import PINS, Wrong, expect
from machine import Machine
from processes import run
from view import View

OBJECTS = "/usr/local/lib/ebpf_fleet"
PRIORITIES = {"front": 5, "behind": 60}
FRAMES = 50
SETTLED_SECONDS = 20


class Shared:
    def __init__(self, machine: Machine, view: View) -> None:
        self.machine = machine
        self.view = view

    def deploys(self, work: pathlib.Path) -> str:
        content = _compiled(work, "second.bpf.c")
        for name, priority in PRIORITIES.items():
            options: t.Dict[str, t.Any] = {"object": f"{OBJECTS}/{name}.bpf.o", "content": content, "name": name}
            options.update(interfaces=[WAN], dispatcher="always", priority=priority, persist="true")
            done = self.machine.task("xdp_program", **options)
            expect(done.get("changed"), True, f"{done.get('msg', 'changed')}")
        return self._both()

    def locks_out(self, work: pathlib.Path) -> str:
        """Over SSH on the interface whose packets are all dropped then."""
        before, persistent = self._inside(), self.view.persistent()
        first, second = self._settled()
        drops: t.Dict[str, t.Any] = {
            "object": f"{OBJECTS}/drops.bpf.o",
            "content": _compiled(work, "counter.bpf.c", "VERSION=0"),
        }
        drops.update(name="drops", interfaces=[WAN], priority=20, rollback_after=ROLLBACK_SECONDS)
        done = self.machine.task("xdp_program", "wan", **drops)
        said = str(done.get("msg"))
        expect((done["failed"], done.get("changed", False)), (True, False), f"failed and changed ({said})")
        expect(bool(re.search("not confirmed.*reachable again", said)), True, f"the reason in {said!r}")
        expect(
            self.machine.sh(f"cat /sys/class/net/{WAN}/address", way="wan"), "52:54:00:00:00:03\n", "over SSH, again"
        )
        expect(self._inside(), before, "programs in the dispatcher")
        expect(self.view.persistent(), persistent, "what a reboot restores from")
        expect(self.machine.sh(f"ls {OBJECTS}/drops*; :"), "", "its object file")
        more, behind = (now - earlier for now, earlier in zip(self._settled(), (first, second)))
        expect(
            more > behind > 0, True, f"{more} packets more before the one that dropped, and {behind} behind it; fewer"
        )
        return f"{more - behind} packets were dropped between the two; {said}"

    def are_restored(self) -> str:
        """After a reboot."""
        return self._both()

    def removes(self) -> str:
        steps = []
        for name in PRIORITIES:
            done = self.machine.task("xdp_program", object=f"{OBJECTS}/{name}.bpf.o", name=name, state="absent")
            expect(done.get("changed"), True, f"{done.get('msg', 'changed')}")
            steps += done["steps"]
        expect(self.machine.sh("find /sys/fs/bpf/xdp -name 'dispatch-*'"), "", "pins of dispatchers")
        self.machine.sh(f"rm {OBJECTS}/front.bpf.o {OBJECTS}/behind.bpf.o")
        return "; ".join(steps)

    def _both(self) -> str:
        """Both are in the dispatcher on the interface, in this order, and count what arrives."""
        names = [f"{name}/{WAN}/program" for name in PRIORITIES]
        inside = self._inside()
        pinned = self.machine.json("; ".join(f"bpftool --json prog show pinned {PINS / each}" for each in names))
        expect(inside, [each["id"] for each in pinned], "programs in the dispatcher, and those that are pinned")
        before = self._settled()
        for _each in range(FRAMES):
            self.machine.send_frame(frame_from("192.0.2.1"))
            time.sleep(0.005)
        more = [now - earlier for now, earlier in zip(self._settled(), before)]
        expect(more, [max(FRAMES, *more)] * 2, f"packets more, of {FRAMES} sent")
        return f"in slots 0 and 1; {more[0]} packets each"

    def _inside(self) -> t.List[int]:
        """The programs in the dispatcher on the interface, by slot, from libxdp's pins. There is no other one."""
        ((interface,),) = self.machine.json(f"ip -json link show dev {WAN}")
        folder = f"/sys/fs/bpf/xdp/dispatch-{interface['ifindex']}-{interface['xdp']['prog']['id']}"
        expect(self.machine.sh("ls -d /sys/fs/bpf/xdp/dispatch-*").split(), [folder], "pins of dispatchers")
        slots = range(len(self.machine.sh(f"ls -d {folder}/prog*-prog").split()))
        pins = "; ".join(f"bpftool --json prog show pinned {folder}/prog{slot}-prog" for slot in slots)
        return [each["id"] for each in self.machine.json(pins)]

    def _settled(self) -> t.Tuple[int, int]:
        """What both have counted, once no packet comes any more: SSH has some of its own after a command."""
        found, deadline = self._counts(), time.monotonic() + SETTLED_SECONDS
        while time.monotonic() < deadline:
            time.sleep(1)
            before, found = found, self._counts()
            if before == found:
                return found
        raise Wrong(f"packets arrive on {WAN} all the time")

    def _counts(self) -> t.Tuple[int, int]:
        maps = [f"bpftool --json map dump pinned {PINS}/{name}/{WAN}/maps/second_map" for name in PRIORITIES]
        first, second = (sum(cpu["value"] for cpu in dump[0]["formatted"]["values"]) for dump in self._dumps(maps))
        return first, second

    def _dumps(self, commands: t.Sequence[str]) -> t.List[t.Any]:
        return self.machine.json("; ".join(commands))


def _compiled(work: pathlib.Path, source: str, *defines: str) -> str:
    """The object, as Ansible sends it."""
    shutil.copy(ROOT / "tests/integration/bpf" / source, work)
    made = source.replace(".c", ".o")
    flags = " ".join(f"-D{each}" for each in defines)
    run("make", "-s", "-f", ROOT / "files/bpf/Makefile", f"CFLAGS={flags}", made, cwd=work)
    return base64.b64encode((work / made).read_bytes()).decode()

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reboot.py: deploy to a Debian guest with systemd and sshd over SSH, and really reboot it. `make test-reboot` runs it.

What the guest restores by itself is compared with what ran before. A line for each check; exit code 1 if one failed.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import pathlib
import sys
import tempfile
import time
import typing as t

from blocklist import ADDED, WAN, Blocklist
from checks import PINS, Wrong, expect
from debian import Debian
from image import image
from machine import Machine
from processes import Failed, end_all, session
from shared import Shared
from slots import INTERFACE as SLOTTED
from slots import Slots
from view import Carried, View

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/reboot"
MANIFESTS = f"/var/lib/ebpf_fleet/{str(PINS).replace('/', '%2F')}/packet_count"
BEFORE, AFTER = 1000, 100  # packets sent before the reboot, and after it
SOON = 60  # seconds; two or three are enough on an idle machine


class Interface(t.NamedTuple):
    """`port`: the other end of its wire, if it has one; `size`: of the packets sent from there."""

    mode: str
    port: str = ""
    size: int = 64


# All but LATE are in guest/etc/systemd/network.
LATE = "late0"
INTERFACES = {
    "eth0": Interface("native"),
    "lan0": Interface("native", "p-lan0"),
    "jumbo-0.1": Interface("native", "p-jumbo-0.1", 8000),
    "bond0": Interface("native", "p-bond0"),
    "bond1": Interface("generic"),
    LATE: Interface("native", "p-late0"),
}
BOOTED = [name for name in INTERFACES if name != LATE]
ADD_LATE = "ip link add late0 type veth peer name p-late0; ip link set dev p-late0 up; ip link set dev late0 up"


class Reboots:
    """The checks, boot by boot."""

    def __init__(self, machine: Machine, work: pathlib.Path) -> None:
        self.machine = machine
        self.view = View(machine)
        self.blocklist = Blocklist(machine, self.view)
        self.slots = Slots(machine)
        self.shared = Shared(machine, self.view)
        self.work = work
        self.passed = self.failed = 0
        self.before: t.Dict[str, Carried] = {}
        self.manifests = ""
        self.provoked: t.List[str] = []
        self.undisturbed = self.view.boot_seconds()

    def check(self, what: str, check: t.Callable[[], str]) -> None:
        """Run a check, print its line, and count it."""
        try:
            text, passed = check(), True
        except (Wrong, Failed) as error:
            text, passed = str(error), False
        except Exception as error:  # a check that breaks counts as failed; the others still run
            text, passed = f"{what} broke: {error!r}", False
        self.passed += passed
        self.failed += not passed
        print(f"  {'passed' if passed else 'FAILED'}  {what:55} {text}", flush=True)

    def run(self) -> None:
        self.boot("a host without a counter", self.deployed)
        with self.blocklist.frames():
            self.machine.reboot()
        self.boot("rebooted", self.rebooted)
        for what, checks in {
            "rebooted with damaged manifests, and programs attached before the network is configured": self.damaged,
            "rebooted after a removal": self.removed,
        }.items():
            self.machine.reboot()
            self.boot(what, checks)

    def boot(self, what: str, checks: t.Callable[[], None]) -> None:
        print(f"\n{what}: up in {self.view.boot_seconds():.0f} s", flush=True)
        failed = self.failed
        checks()
        self.check("SELinux denied none of it", self.undenied)
        if self.failed > failed:
            print(f"\n{self.view.journal('ebpf-fleet@*', 'short-monotonic')}\n{self.machine.serial_end()}", flush=True)

    def undenied(self) -> str:
        expect(self.view.enforcement(), "Enforcing", "SELinux")
        ours, others = self.view.denials()
        expect([each for each in ours if each not in self.provoked], [], "denials")
        return f"enforcing; {others} denials of others"

    def labelled(self) -> str:
        expect(self.view.mislabelled(), [], "what restorecon would relabel")
        return ", ".join(self.view.types())

    # A host without a counter

    def deployed(self) -> None:
        self.machine.sh(ADD_LATE)
        self.check("a denial by SELinux is seen", self.sees_denials)
        self.check("ebpf.fleet.deploy", self.deploys)
        self.manifests = self.view.persistent()
        self.check(f"examples/blocklist on {WAN}, as a dry run", functools.partial(self.blocklist.deploys, self.work))
        self.check(f"bpf_map: {ADDED} as well", self.blocklist.adds)
        self.check("a program with lists in slots", functools.partial(self.slots.deploys, self.work))
        self.check("files have the labels of SELinux's policy", self.labelled)
        self.send(BEFORE, [*INTERFACES])

    def sees_denials(self) -> str:
        """Provoke one, as a check that looks in the wrong place would find none either."""
        self.machine.sh("! runcon system_u:system_r:sshd_t:s0 /usr/bin/true")
        self.provoked = self.view.denials()[0]
        expect(len(self.provoked), 1, "denials")
        return self.provoked[0]

    def deploys(self) -> str:
        expect(self.view.state(), "running", "state of the system")
        expect(self.machine.playbook("deploy") > 0, True, "changed")
        self.before = self.view.carried()
        modes = {name: each.mode for name, each in self.before.items()}
        expect(modes, {name: each.mode for name, each in INTERFACES.items()}, "modes")
        return ", ".join(f"{name} {mode}" for name, mode in modes.items())

    def send(self, packets: int, names: t.Sequence[str]) -> None:
        wired = [INTERFACES[name] for name in names if INTERFACES[name].port]
        self.machine.sh(" && ".join(f"python3 send.py {each.port} {packets} {each.size}" for each in wired))

    # Rebooted

    def rebooted(self) -> None:
        self.check("the boot is undisturbed", self.undisturbed_boot)
        self.are_restored(BOOTED)
        self.check("units done before network-online.target", self.before_online)
        self.check("the blocklist had its lists before the first packet", self.blocklist.is_restored)
        self.check("without them it would have shown", self.blocklist.sees_others)
        self.check("lists are in their slots again", self.slots.are_filled)
        self.check(f"{LATE} did not exist: nothing waits for it", self.nothing_waits)
        self.check(f"{LATE} appears", self.appears)
        self.are_restored([LATE])
        self.check("xdp_counter_facts agrees with bpftool", self.facts)
        self.check("files have the labels of SELinux's policy", self.labelled)
        self.check("ebpf.fleet.deploy has nothing to do", self.nothing_to_do)
        self.check("0.0.0.0/0 in the blocklist, over SSH: back by itself", self.blocklist.locks_out)
        self.check("examples/blocklist is removed", self.blocklist.removes)
        self.check("the program with slots is removed", self.slots.removes)
        self.check(f"two programs share {WAN}", functools.partial(self.shared.deploys, self.work))
        self.check(
            "one between them drops all, over SSH: back by itself", functools.partial(self.shared.locks_out, self.work)
        )
        self.machine.sh(
            f"sed -i s/f0VMRgIB/f0VMRgIC/ {MANIFESTS}/lan0.json"
            f" && truncate --size=-1000 {MANIFESTS}/{LATE}.json"
            " && systemctl --quiet enable early"
        )

    def undisturbed_boot(self) -> str:
        expect(self.view.state(), "running", "state of the system")
        return f"running in {self.view.boot_seconds():.0f} s; {self.undisturbed:.0f} s without a counter"

    def are_restored(self, names: t.Sequence[str]) -> None:
        """A check for each interface; the guest is read once for all of them."""
        carried = self.view.carried()
        self.send(AFTER, names)
        counts = self.view.counts([name for name in names if name in carried])
        for name in names:
            self.check(
                f"{name} is restored", functools.partial(self.is_restored, name, carried.get(name), counts.get(name, 0))
            )

    def is_restored(self, name: str, carried: t.Optional[Carried], packets: int) -> str:
        expect(carried, self.before[name], "its program")
        assert carried
        # Counts from before the reboot are gone. eth0 counts the SSH connection's packets, and bond1 none.
        least = AFTER if INTERFACES[name].port else int(name == "eth0")
        expect(least <= packets < BEFORE, True, f"{least} to {BEFORE} packets counted, but found {packets}")
        program = carried.program.split()[0]
        return ", ".join([program, carried.mode, f"MTU {carried.mtu}", *carried.members, f"{packets} counted"])

    def before_online(self) -> str:
        units = self.view.units()
        online = units.pop("network-online.target")
        expect(online.state, "active", "network-online.target")
        expected = {_unit(name): "active" for name in (*BOOTED, WAN, SLOTTED)}
        expect({name: unit.state for name, unit in units.items()}, expected, "units")
        last = max(unit.reached for unit in units.values())
        expect(last <= online.reached, True, f"the last one at {last} µs, the target at {online.reached} µs: before")
        return f"the last one {(online.reached - last) / 1e3:.0f} ms"

    def nothing_waits(self) -> str:
        expect(self.view.jobs(), "", "jobs of systemd")
        expect(_unit(LATE) in self.view.units(), False, "a unit")
        return "no job, no unit"

    def appears(self) -> str:
        self.machine.sh(ADD_LATE)
        return _soon("on", lambda: LATE in self.view.carried())

    def facts(self) -> str:
        report = self.work / "counts.json"
        before = self.view.counts([*INTERFACES])
        self.machine.playbook("facts", xdp_counter_report=str(report))
        after = self.view.counts([*INTERFACES])
        rows = {row["interface"]: row for row in json.loads(report.read_text())}
        expect(sorted(rows), sorted(INTERFACES), "interfaces")
        for name, row in rows.items():
            count = row["packets"]
            expect(
                before[name] <= count <= after[name], True, f"{count} from {before[name]} to {after[name]} on {name}"
            )
        expect({row["boot_id"] for row in rows.values()}, {self.machine.boot_id}, "boot_id")
        return f"{len(rows)} interfaces; boot_id is that of this boot"

    def nothing_to_do(self) -> str:
        expect(self.machine.playbook("deploy"), 0, "changed")
        return "changed=0"

    # Rebooted with damaged manifests, and programs attached before the network is configured

    def damaged(self) -> None:
        self.check("lan0's manifest is damaged: the boot continues", self.goes_on)
        self.check("its unit names the file", functools.partial(self.is_named, "lan0"))
        self.are_restored([name for name in BOOTED if name != "lan0"])
        self.machine.sh(f"systemctl --quiet disable early; {ADD_LATE}")
        self.check(f"{LATE} appears; its truncated manifest is named", functools.partial(self.is_named, LATE))
        self.check(f"two programs share {WAN} again", self.shared.are_restored)
        self.check("these two are removed", self.shared.removes)
        self.check("ebpf.fleet.deploy repairs both", self.repairs)
        self.are_restored(["lan0", LATE])
        self.check("ebpf.fleet.remove leaves nothing", self.removes)

    def goes_on(self) -> str:
        expect(self.view.failed_units(), [_unit("lan0")], "failed units")
        expect(self.view.state(), "degraded", "state of the system")
        expect(self.view.units()["network-online.target"].state, "active", "network-online.target")
        expect("lan0" in self.view.carried(), False, "a program on lan0")
        return "only its unit failed"

    def is_named(self, name: str) -> str:
        unit = _unit(name)
        _soon("failed", lambda: self.view.units()[unit].state == "failed")
        lines = self.view.journal(unit, "cat").splitlines()
        for line in lines:
            if f"{MANIFESTS}/{name}.json is damaged" in line:
                return line
        raise Wrong(f"not in {lines!r}")

    def repairs(self) -> str:
        expect(self.machine.playbook("deploy") > 0, True, "changed")
        expect(self.view.carried(), self.before, "programs on the interfaces")
        expect(self.view.persistent(), self.manifests, "files in /var/lib/ebpf_fleet")
        expect(self.view.state(), "running", "state of the system")
        return "programs and manifests as before, no failed unit"

    def removes(self) -> str:
        expect(self.machine.playbook("remove") > 0, True, "changed")
        return self.nothing()

    # Rebooted after a removal

    def removed(self) -> None:
        self.check("nothing is left", self.nothing)
        self.check("the boot is undisturbed", self.undisturbed_boot)

    def nothing(self) -> str:
        expect(self.view.carried(), {}, "programs on the interfaces")
        expect(self.view.left(), "", "files and units")
        return "no program, pin, file or unit"


def _soon(what: str, true: t.Callable[[], bool]) -> str:
    began = time.monotonic()
    while not true():
        if time.monotonic() > began + SOON:
            raise Wrong(f"not {what} within {SOON} s")
        time.sleep(0.5)
    return f"{what} within {time.monotonic() - began:.0f} s"


def _unit(interface: str) -> str:
    escaped = interface.replace("-", r"\x2d")  # systemd-escape(1)
    return f"ebpf-fleet@{escaped}.service"


def run() -> Reboots:
    debian = Debian(CACHE)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor() as pool:
        work = pathlib.Path(folder)
        variables = {
            "xdp_counter_become": False,
            "xdp_counter_build": "controller",
            "xdp_counter_controller_directory": str(work / "controller"),
            "xdp_counter_interfaces": [*INTERFACES],
            "xdp_counter_check_seconds": 0,  # the checks look themselves
        }
        try:
            machine = Machine(image(debian), work, CACHE, variables)
            machine.start(pool)
            reboots = Reboots(machine, work)
            reboots.run()
        finally:
            end_all()
    return reboots


def main() -> int:
    with session("reboot", CACHE):
        reboots = run()
    print(f"\n{reboots.passed} passed, {reboots.failed} failed")
    return int(reboots.failed > 0)


if __name__ == "__main__":
    sys.exit(main())

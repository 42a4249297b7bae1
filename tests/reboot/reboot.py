# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reboot.py: a Debian guest with systemd and sshd is deployed on over SSH, and really rebooted. `make test-reboot`.

What the host brings back by itself is compared with what it carried before, as ip and bpftool see it there. A line for
each check; exit code 1 if one failed.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import functools
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import typing as t

from checks import MODES, PINS, Wrong, expect
from debian import Debian
from image import image
from machine import Machine
from processes import Failed, end_all

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/reboot"
MANIFESTS = f"/var/lib/ebpf_fleet/{str(PINS).replace('/', '%2F')}/packet_count"
BEFORE, AFTER = 1000, 100  # packets sent before the reboot, and after it
SOON = 60  # seconds for what takes two or three on an idle machine

# guest/etc/systemd/network has all but late0. By name: the mode, and the other end of the wire if there is one.
LATE = "late0"
INTERFACES: t.Dict[str, t.Tuple[str, str]] = {
    "eth0": ("native", ""),
    "lan0": ("native", "p-lan0"),
    "jumbo-0.1": ("native", "p-jumbo-0.1"),
    "bond0": ("native", "p-bond0"),
    "bond1": ("generic", ""),
    LATE: ("native", f"p-{LATE}"),
}
BOOTED = [name for name in INTERFACES if name != LATE]
ADD_LATE = (
    f"ip link add name {LATE} type veth peer name p-{LATE}; ip link set dev p-{LATE} up; ip link set dev {LATE} up"
)


class Carried(t.NamedTuple):
    """What is to be after a reboot as it was before."""

    mode: str
    program: str
    pins: t.Tuple[str, ...]
    mtu: int
    up: bool
    members: t.Tuple[str, ...]


class Unit(t.NamedTuple):
    state: str
    result: str
    reached: int  # microseconds since the boot


class Guest:
    """The machine, and what is to be known of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def carried(self) -> t.Dict[str, Carried]:
        """By interface that has a program; what ip says of it and what bpftool says agree."""
        interfaces, links, programs = self.machine.json(
            "ip -json link show; bpftool --json --bpffs link list; bpftool --json prog list"
        )
        by_id = {program["id"]: program for program in programs}
        pins = self.machine.sh(f"cd {PINS}/packet_count 2>/dev/null && find . -type f || :").split()
        found = {}
        for interface in interfaces:
            name, xdp = interface["ifname"], interface.get("xdp")
            if not xdp:
                continue
            folder = f"./{name.replace('.', '%2E')}/"
            pinned = f"{PINS}/packet_count/{folder[2:]}link"
            (link,) = [each for each in links if pinned in each.get("pinned", ())] or [{"prog_id": "none"}]
            program = by_id[xdp["prog"]["id"]]
            expect(program["id"], link["prog_id"], f"program on {name}, and that of the link pinned for it")
            found[name] = Carried(
                mode=MODES[xdp["mode"]],
                program=f"{program['name']} {program['tag']}",
                pins=tuple(sorted(pin[len(folder) :] for pin in pins if pin.startswith(folder))),
                mtu=interface["mtu"],
                up=interface["operstate"] == "UP",
                members=tuple(each["ifname"] for each in interfaces if each.get("master") == name),
            )
        return found

    def counts(self, interfaces: t.Sequence[str]) -> t.Dict[str, int]:
        """Packets, as bpftool adds them up."""
        maps = (f"{PINS}/packet_count/{name.replace('.', '%2E')}/maps/counters" for name in interfaces)
        dumps = self.machine.json("; ".join(f"bpftool --json map dump pinned {each}" for each in maps))
        return {
            name: sum(cpu["value"]["packets"] for cpu in dump[0]["formatted"]["values"])
            for name, dump in zip(interfaces, dumps)
        }

    def send(self, packets: int, interfaces: t.Sequence[str]) -> None:
        ports = [(INTERFACES[name][1], 8000 if "jumbo" in name else 64) for name in interfaces if INTERFACES[name][1]]
        self.machine.sh(" && ".join(f"python3 send.py {port} {packets} {size}" for port, size in ports))

    def units(self) -> t.Dict[str, Unit]:
        """The collection's, and network-online.target."""
        shown = self.machine.sh(
            "systemctl show --all --property=Id,ActiveState,Result,ActiveEnterTimestampMonotonic"
            " network-online.target 'ebpf-fleet@*'"
        )
        found = {}
        for block in shown.strip().split("\n\n"):
            fields = dict(line.split("=", 1) for line in block.splitlines())
            found[fields["Id"]] = Unit(
                fields["ActiveState"], fields.get("Result", ""), int(fields["ActiveEnterTimestampMonotonic"])
            )
        return found

    def state(self) -> str:
        """As systemd has it: running, degraded, starting …"""
        return self.machine.sh("systemctl is-system-running || :").strip()

    def boot_seconds(self) -> float:
        return int(self.machine.sh("systemctl show --value --property=FinishTimestampMonotonic")) / 1e6

    def journal(self) -> str:
        return self.machine.sh("journalctl --boot --output=short-monotonic --no-pager --unit='ebpf-fleet@*' || :")

    def said(self, unit: str) -> str:
        return self.machine.sh(f"journalctl --boot --output=cat --no-pager --unit='{unit}'")


class Report:
    """A line for each check, as it comes."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, what: str, check: t.Callable[[], str]) -> None:
        try:
            text, verdict = check(), "passed"
            self.passed += 1
        except (Wrong, Failed, LookupError, ValueError) as error:
            text, verdict = f"{error!r}" if isinstance(error, (LookupError, ValueError)) else str(error), "FAILED"
            self.failed += 1
        print(f"  {verdict}  {what:62} {text}", flush=True)


class Run:
    """The checks, boot by boot."""

    def __init__(self, machine: Machine, report: Report, work: pathlib.Path) -> None:
        self.machine = machine
        self.guest = Guest(machine)
        self.check = report.check
        self.report = report
        self.work = work
        self.before: t.Dict[str, Carried] = {}
        self.undisturbed = 0.0

    def whole(self) -> None:
        for boot, checks in (
            ("a host without a counter", self.deployed),
            ("rebooted", self.rebooted),
            ("rebooted with damaged manifests, and the programs before the network configuration", self.damaged),
            ("rebooted with the counter removed", self.removed),
        ):
            print(f"\n{boot}: up in {self.guest.boot_seconds():.0f} s, of kernel and systemd", flush=True)
            failed = self.report.failed
            checks()
            if self.report.failed > failed:
                print(f"\njournal of the units:\n{self.guest.journal()}\nend of {self.machine.serial}:")
                print("\n".join(self.machine.serial.read_text(errors="replace").splitlines()[-10:]), flush=True)
            if checks != self.removed:
                self.machine.reboot()

    # Boot 1

    def deployed(self) -> None:
        self.undisturbed = self.guest.boot_seconds()
        self.machine.sh(ADD_LATE)
        self.check("ebpf.fleet.deploy", self.deploys)

    def deploys(self) -> str:
        expect(self.guest.state(), "running", "state of the system")
        expect(self.machine.playbook("deploy") > 0, True, "changed")
        self.before = self.guest.carried()
        expect(
            {name: each.mode for name, each in self.before.items()},
            {name: mode for name, (mode, _port) in INTERFACES.items()},
            "modes",
        )
        self.guest.send(BEFORE, [*INTERFACES])
        return ", ".join(f"{name} {each.mode}" for name, each in self.before.items())

    # Boot 2

    def rebooted(self) -> None:
        self.check("the boot is undisturbed", self.undisturbed_boot)
        self.comes_back(BOOTED)
        self.check("units done before network-online.target", self.before_online)
        self.check(f"{LATE} was not there: nobody waits for it", self.nobody_waits)
        self.check(f"{LATE} appears", self.appears)
        self.comes_back([LATE])
        self.check("xdp_counter_facts and bpftool agree", self.facts)
        self.check("ebpf.fleet.deploy", self.nothing_to_do)
        self.manifests = self.sums()
        self.machine.sh(
            f"sed -i s/f0VMRgIB/f0VMRgIC/ {MANIFESTS}/lan0.json && truncate --size=-1000 {MANIFESTS}/{LATE}.json"
            " && systemctl enable early"
        )

    def undisturbed_boot(self) -> str:
        expect(self.guest.state(), "running", "state of the system")
        return f"running in {self.guest.boot_seconds():.0f} s, {self.undisturbed:.0f} without the counter"

    def comes_back(self, names: t.Sequence[str]) -> None:
        """Looked at once for all of them, with a check for each."""
        try:
            carried = self.guest.carried()
            self.guest.send(AFTER, names)
            counts = self.guest.counts([name for name in names if name in carried])
        except (Wrong, Failed) as error:
            self.check(", ".join(names), functools.partial(_fail, error))
            return
        for name in names:
            self.check(f"{name} is back", functools.partial(self.is_back, name, carried, counts))

    def is_back(self, name: str, carried: t.Mapping[str, Carried], counts: t.Mapping[str, int]) -> str:
        now, mode, port = carried.get(name), *INTERFACES[name]
        expect(now, self.before[name], "what it carries")
        packets = counts[name]
        # What was counted before the reboot is gone. Of eth0 we do not know what has come; bond1 has no wire.
        least = AFTER if port else int(name == "eth0")
        expect(least <= packets < BEFORE, True, f"{packets} packets, of {AFTER} sent after the reboot; few and enough")
        assert now
        details = [now.program.split()[0], mode, f"MTU {now.mtu}", *now.members, f"{packets} counted"]
        return ", ".join(details)

    def before_online(self) -> str:
        units = self.guest.units()
        online = units.pop("network-online.target")
        expect(online.state, "active", "network-online.target")
        expect(sorted(units), sorted(map(_unit, BOOTED)), "units")
        expect({unit.state for unit in units.values()}, {"active"}, "states of the units")
        last = max(unit.reached for unit in units.values())
        expect(last <= online.reached, True, f"the last one at {last} µs, network-online.target at {online.reached}")
        return f"the last one {(online.reached - last) / 1e6:.1f} s before it"

    def nobody_waits(self) -> str:
        expect(self.machine.sh("systemctl list-jobs --no-legend").strip(), "", "jobs of systemd")
        expect(_unit(LATE) in self.guest.units(), False, "its unit is known to systemd")
        return "no job, no unit"

    def appears(self) -> str:
        self.machine.sh(ADD_LATE)
        return _within(SOON, lambda: LATE in self.guest.carried(), "on")

    def facts(self) -> str:
        report = self.work / "counts.json"
        before = self.guest.counts([*INTERFACES])
        self.machine.playbook("facts", xdp_counter_report=str(report))
        rows = {row["interface"]: row for row in json.loads(report.read_text())}
        after = self.guest.counts([*INTERFACES])
        expect(sorted(rows), sorted(INTERFACES), "interfaces")
        for name, row in rows.items():
            found = row["packets"]
            expect(
                before[name] <= found <= after[name], True, f"{found} on {name}, from {before[name]} to {after[name]}"
            )
        expect({row["boot_id"] for row in rows.values()}, {self.machine.boot}, "boot_id")
        return f"{len(rows)} interfaces"

    def nothing_to_do(self) -> str:
        expect(self.machine.playbook("deploy"), 0, "changed")
        return "changed=0"

    def sums(self) -> str:
        return self.machine.sh("find /var/lib/ebpf_fleet -type f -exec sha256sum {} + | sort")

    # Boot 3

    def damaged(self) -> None:
        self.check("lan0's manifest is damaged: the boot goes on", self.goes_on)
        self.check("it is named", functools.partial(self.is_named, "lan0"))
        self.comes_back([name for name in BOOTED if name != "lan0"])
        self.machine.sh(ADD_LATE)
        self.check(f"{LATE} appears; its manifest, cut off, is named", functools.partial(self.is_named, LATE))
        self.check("ebpf.fleet.deploy mends both", self.mends)
        self.comes_back(["lan0", LATE])
        self.machine.sh("systemctl disable early")
        self.check("ebpf.fleet.remove leaves nothing", self.removes)

    def goes_on(self) -> str:
        expect(self.guest.state(), "degraded", "state of the system")
        failed = self.machine.sh("systemctl list-units --failed --no-legend --plain | cut -d ' ' -f 1").split()
        expect(failed, [_unit("lan0")], "failed units")
        units = self.guest.units()
        expect(units["network-online.target"].state, "active", "network-online.target")
        expect("lan0" in self.guest.carried(), False, "a program on lan0")
        return f"{failed[0]} has failed, and no other"

    def is_named(self, name: str) -> str:
        unit = _unit(name)
        _within(SOON, lambda: self.guest.units()[unit].state == "failed", "failed")
        lines = self.guest.said(unit).splitlines()
        words = [line for line in lines if f"{MANIFESTS}/{name}.json is damaged" in line]
        if not words:
            raise Wrong(f"not in {lines!r}")
        return words[0]

    def mends(self) -> str:
        expect(self.machine.playbook("deploy") > 0, True, "changed")
        expect(self.guest.carried(), self.before, "what the interfaces carry")
        expect(self.sums(), self.manifests, "files in /var/lib/ebpf_fleet")
        expect(self.guest.state(), "running", "state of the system")
        return "all is as before"

    def removes(self) -> str:
        expect(self.machine.playbook("remove") > 0, True, "changed")
        return self.nothing()

    # Boot 4

    def removed(self) -> None:
        self.check("nothing is there", self.nothing)
        self.check("the boot is undisturbed", self.undisturbed_boot)

    def nothing(self) -> str:
        expect(self.guest.carried(), {}, "what the interfaces carry")
        left = self.machine.sh(
            "find /etc /run /sys/fs/bpf /usr/local /var -name '*ebpf*fleet*' -o -name 'packet_count*';"
            " for list in list-units list-unit-files; do systemctl $list --all --no-legend 'ebpf-fleet*'; done || :"
        )
        expect(left, "", "files and units")
        return "no program, pin, file or unit"


def _within(seconds: float, true: t.Callable[[], bool], what: str) -> str:
    began = time.monotonic()
    while not true():
        if time.monotonic() > began + seconds:
            raise Wrong(f"not {what} within {seconds} s")
        time.sleep(0.5)
    return f"{what} within {time.monotonic() - began:.0f} s"


def _fail(error: Exception) -> str:
    raise error


def _unit(interface: str) -> str:
    escaped = interface.replace("-", r"\x2d")  # systemd-escape(1)
    return f"ebpf-fleet@{escaped}.service"


def run() -> Report:
    report = Report()
    variables = {"xdp_counter_interfaces": [*INTERFACES], "xdp_counter_build": "controller"}
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(1) as pool:
        work = pathlib.Path(folder)
        variables["xdp_counter_controller_directory"] = str(work / "controller")
        machine = Machine(image(Debian(CACHE)), work, CACHE, variables)
        try:
            with machine.running(pool):
                Run(machine, report, work).whole()
        finally:
            end_all()
    return report


def main() -> int:
    if os.geteuid():
        sys.exit("reboot: mmdebstrap unpacks the guest as root; run it as root (`make test-reboot` uses sudo).")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in CACHE.glob("tmp*"):  # by a run that was killed
            shutil.rmtree(left)
        try:
            report = run()
        except Failed as error:
            sys.exit(f"reboot: {error}")
        except KeyboardInterrupt:
            sys.exit(130)
    print(f"\n{report.passed} passed, {report.failed} failed")
    return int(report.failed > 0)


if __name__ == "__main__":
    sys.exit(main())

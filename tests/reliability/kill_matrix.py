# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill_matrix.py [--record] [--whole] [SCENARIO...]: kill a module where it changes something, and run it again.

strace lists the calls with which an undisturbed run changes something: BPF objects, pins, links, files. Then, once for
each of these calls, the task is run from the same start and killed (SIGKILL) as it makes that call. (Nothing changes
between two of them, so a kill there equals a kill at the second.) The task is then run again. It must reach the whole
wanted state, keep the counts, and leave nothing else behind. `make test-kill` runs this; --record saves the figures of
a run that passed, of these scenarios or of all.

What is restored after a reboot is killed on a host with systemd. There, whatever is left between the kill and the
second run, a host with these files is booted too: each interface must come up with its old or its new program.

Without --whole, --record or a scenario it kills at a sample of the calls, chosen by the commit.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.pulling.settings import STAMP
from ansible_collections.ebpf.fleet.plugins.module_utils.state import places
from commands import bpftool, sh
from host import Host
from paths import BPF, ROOT
from systemd import Booted, Systemd
from warm import Warm

RESULTS = pathlib.Path(__file__).with_name("kill_matrix.json")
Options = t.Dict[str, t.Any]
T = t.TypeVar("T")
MODULES = ("xdp_program", "xdp_counter_facts", "bpf_map", "bpf_object", "xdp_confirm", "xdp_metrics", "xdp_pull")
BOTH = ["eth0", "eth0.10"]
STACKED = ["mac0", "eth0"]  # mac0 is above eth0
PACKETS = 10

# Calls that change something, and the arguments by which to recognise them.
CHANGES = {
    "bpf": r"BPF_(MAP_(CREATE|(UPDATE|DELETE)_(ELEM|BATCH)|FREEZE)"
    r"|PROG_LOAD|BTF_LOAD|OBJ_PIN|LINK_(CREATE|UPDATE|DETACH))",
    "sendto": r"RTM_SETLINK",
    "rename": "",
    "unlink": "",
    "symlink": "",
    "mkdir": "",
    "rmdir": "",
    "openat": r"O_CREAT",
    "write": r"^\d+</(?!dev/|proc/|memfd)",
    "fchmod": "",
    "bind": r"AF_UNIX",
}
UNITS = pathlib.Path("/etc/systemd/system")
MANIFESTS = pathlib.Path("/var/lib/ebpf_fleet")
PULLING = pathlib.Path(places.PULLING)
PULLED = [pathlib.Path(places.PULL), PULLING, pathlib.Path(STAMP)]  # what xdp_pull brings onto a host
TEXTFILES = [pathlib.Path(f"/var/lib/textfiles-{number}") for number in (1, 2)]  # for node_exporter
ABOUT_BOOT = re.compile(f"MANIFESTS|/unread|{MANIFESTS}|{UNITS}|vfork")
SAMPLE = 0.08  # of the calls
# With systemd, of those that are and those that are not about restoring: each takes two seconds, and hosts without
# systemd have most of the latter too.
BOOTING_SAMPLE = {True: 0.15, False: 0.03}
# The folder of a task, and the file with which Python tests for a usable one: Ansible's to remove, on every host.
MADE_BY_ANSIBLE = re.compile(r"/\.ansible/tmp|ansible-moduletmp|/tmp/(ansible|\w{8}[>\"])")


class Point(t.NamedTuple):
    """The nth call of its kind that a process makes; `what` describes it in the undisturbed run."""

    call: str
    number: int
    what: str


# Of prefixes, before and after.
LISTS = ("192.0.2.0/24", "198.51.100.7"), ("192.0.2.0/24", "203.0.113.0/24", "10.0.0.0/8")


class Scenario(t.NamedTuple):
    """A task and the state that it starts from; tasks of `start` are of xdp_program unless they name a `module`.

    `holder`: the holder of its provisional change is killed instead, while it makes the change and the change is
    confirmed ("confirm"), or while it rolls the change back ("roll back"). `settled`: the task to run afterwards.
    """

    name: str
    start: t.Sequence[Options]
    task: Options
    module: str = "xdp_program"
    holder: str = ""
    settled: t.Optional[Options] = None
    counts: t.Optional[int] = PACKETS
    foreign: bool = False


class Bench:
    """A host, its warm modules, and the objects that the scenarios are about."""

    changes: t.ClassVar[t.Dict[str, str]] = CHANGES

    def __init__(self, host: Host, warm: Warm, folder: pathlib.Path, seed: str) -> None:
        """seed: what chooses a sample of the calls; "" for all."""
        self.host, self.warm, self.folder = host, warm, folder
        self.random = random.Random(seed) if seed else None
        self.work = folder / "work"
        for version in (1, 2):
            for source, made, defines in (
                ("counter", f"{version}.o", f"-DVERSION={version}"),
                ("maps", f"values-{version}.o", f"-DVERSION=1 -DVARIABLES -DLIMIT={version}"),
            ):
                shutil.copy(BPF / f"{source}.bpf.c", folder)
                flags = f"CFLAGS=-Wall {defines}"
                sh("make", "-s", "-f", ROOT / "files/bpf/Makefile", flags, f"{source}.bpf.o", cwd=folder)
                (folder / f"{source}.bpf.o").rename(folder / made)
        self.source = (ROOT / "files/bpf/packet_count.bpf.c").read_text()
        for path in (
            ROOT / "files/bpf/packet_count.bpf.c",
            ROOT / "examples/blocklist/blocklist.bpf.c",
            BPF / "slots.bpf.c",
        ):
            shutil.copy(path, folder)
            sh("make", "-s", "-f", ROOT / "files/bpf/Makefile", path.with_suffix(".o").name, cwd=folder)
        self.foreign = f"{host.pins}-foreign"
        sh("ip", "-n", host.name, "link", "add", "name", "mac0", "link", "eth0", "type", "macvlan", "mode", "bridge")
        sh("ip", "-n", host.name, "link", "set", "dev", "mac0", "up")
        sh("bpftool", "prog", "load", folder / "1.o", self.foreign)
        self.at_rest = set(self.processes())

    def counter(self, version: int, **more: t.Any) -> Options:
        return {"object": str(self.folder / f"{version}.o"), "interfaces": BOTH, "name": "counter", **more}

    def blocklist(self, *addresses: str, **more: t.Any) -> Options:
        entries = {"map": "block4", "keys": addresses, "value": 1, "exclusive": True, **more.pop("how", {})}
        return self.counter(1, object=str(self.folder / "blocklist.bpf.o"), map_entries=[entries], **more)

    def entries(self, *addresses: str, **more: t.Any) -> Options:
        return {"name": "counter", "map": "block4", "keys": addresses, "value": 1, "exclusive": True, **more}

    def held(self, name: str, start: t.List[Options], more: Options, wanted: Options, counts: int) -> t.List[Scenario]:
        """The holder is killed in two scenarios: while the change is confirmed, and while it is rolled back."""
        task = self.counter(1, **more)
        return [
            Scenario(
                f"{name}, holder, {what}",
                start,
                {**task, "rollback_after": seconds},
                "xdp_program",
                what,
                wanted,
                counts,
            )
            for what, seconds in (("confirm", 30), ("roll back", 2))
        ]

    def scenarios(self) -> t.List[Scenario]:
        counter, held, blocklist, entries = self.counter, self.held, self.blocklist, self.entries
        first, second = LISTS

        def values(version: int) -> Options:
            return counter(1, object=str(self.folder / f"values-{version}.o"))

        def content(version: int) -> Options:
            text = base64.b64encode((self.folder / f"{version}.o").read_bytes()).decode()
            return counter(1, object=str(self.work / "x.bpf.o"), content=text)

        def compiled(version: int) -> Options:
            build = {"src": str(self.work / "c.bpf.c"), "content": f"{self.source}/* {version} */\n"}
            return counter(1, object=str(self.work / "c.bpf.o"), build={**build, "cflags": [f"-mcpu=v{version}"]})

        def in_slot(*addresses: str, **more: t.Any) -> Options:
            return {**entries(*addresses, **more), "map": "lists", "slot": 0}

        def slot_entries(*addresses: str, **more: t.Any) -> Options:
            listed = {"map": "lists", "slot": 1, "keys": addresses, "value": 1, "exclusive": True, **more}
            return {**slots, "map_entries": [listed]}

        slots = counter(1, object=str(self.folder / "slots.bpf.o"))
        at_once = {"replace": "at_once"}
        stacked = counter(1, interfaces=STACKED)
        upper, lower = counter(1, interfaces=["mac0"]), counter(1, interfaces=["eth0"])
        changed = {**lower, "mode": "generic"}
        absent = {"state": "absent", "name": "counter"}
        built = {"src": str(self.work / "c.bpf.c"), "dest": str(self.work / "c.bpf.o"), "content": self.source}
        packet_count = counter(1, object=str(self.folder / "packet_count.bpf.o"))
        traced = {"name": "counter", "trace_seconds": 0.2}
        return [
            Scenario("first attach", [], counter(1), counts=0),
            Scenario("first attach, object in the task", [], content(1), counts=0),
            Scenario("upgrade", [counter(1)], counter(2)),
            Scenario("upgrade, object in the task", [content(1)], content(2)),
            Scenario("first attach, compiled in the task", [], compiled(1), counts=0),
            Scenario("upgrade, compiled in the task", [compiled(1)], compiled(2)),
            Scenario("upgrade with new maps", [counter(1)], counter(2, maps="reset"), counts=None),
            Scenario("upgrade with a new first value", [values(1)], values(2)),
            Scenario("different mode", [counter(1)], counter(1, mode="generic")),
            Scenario("foreign program replaced", [], counter(1, on_conflict="replace"), counts=0, foreign=True),
            Scenario("detach", [counter(1)], {"state": "detached", "name": "counter"}),
            Scenario("reattach", [counter(1), {"state": "detached", "name": "counter"}], counter(1)),
            Scenario("remove", [counter(1)], absent, counts=None),
            Scenario("first attach, to be confirmed", [], counter(1, rollback_after=1), settled=counter(1), counts=0),
            Scenario("upgrade, to be confirmed", [counter(1)], counter(2, rollback_after=1), settled=counter(2)),
            *held("first attach", [], {}, counter(1), 0),
            *held("upgrade", [counter(1)], {"object": counter(2)["object"]}, counter(2), PACKETS),
            *held("different mode", [counter(1)], {"mode": "generic"}, counter(1, mode="generic"), PACKETS),
            Scenario("first attach, lower and upper", [], stacked, counts=0),
            Scenario("first attach below an upper", [upper], lower, counts=0),
            Scenario("different mode, lower and upper", [stacked], {**stacked, "mode": "generic"}),
            Scenario("different mode below an upper", [lower, upper], changed),
            *held("different mode below an upper", [lower, upper], changed, changed, PACKETS),
            Scenario("a variable", [values(1)], {**values(1), "variables": {"limit": 9}}, counts=None),
            Scenario("a constant", [blocklist()], blocklist(variables={"enforce": False}), counts=None),
            Scenario("entries, first attach", [], blocklist(*first), counts=None),
            Scenario("entries", [blocklist(*first)], blocklist(*second), counts=None),
            Scenario("entries, at once", [blocklist(*first)], blocklist(*second, how=at_once), counts=None),
            Scenario("entries in a slot, first attach", [], slot_entries(*first), counts=None),
            Scenario(
                "entries in a slot, at once", [slot_entries(*first)], slot_entries(*second, **at_once), counts=None
            ),
            Scenario("a larger map", [blocklist(*first)], blocklist(*first, map_sizes={"block4": 300000}), counts=None),
            Scenario("bpf_map", [blocklist(*first)], entries(*second), "bpf_map", counts=None),
            Scenario("bpf_map, at once", [blocklist(*first)], entries(*second, **at_once), "bpf_map", counts=None),
            Scenario(
                "bpf_map, to be confirmed",
                [blocklist(*first)],
                entries(*second, rollback_after=1),
                "bpf_map",
                settled=entries(*second),
                counts=None,
            ),
            Scenario("bpf_map, a slot at once", [slots], in_slot(*second, **at_once), "bpf_map", counts=None),
            Scenario(
                "bpf_map, a slot at once, to be confirmed",
                [slots],
                in_slot(*second, rollback_after=1, **at_once),
                "bpf_map",
                settled=in_slot(*second, **at_once),
                counts=None,
            ),
            Scenario("compile", [], built, "bpf_object", counts=None),
            Scenario("trace", [packet_count], traced, "xdp_counter_facts"),
        ]

    # One run of a scenario

    def begin(self, scenario: Scenario) -> None:
        """Bring the host from any state to the start of the scenario."""
        self.warm.ok("xdp_program", state="absent", name="counter")
        self.host.enter("ip", "link", "set", "dev", "eth0", "xdp", "off")
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for number, options in enumerate(scenario.start):
            self.warm.ok(**{"module": "xdp_program", **options})
            if number == 0:
                self.host.send("eth0", PACKETS)
        if scenario.foreign:
            self.host.enter("bpftool", "net", "attach", "xdp", "pinned", self.foreign, "dev", "eth0")

    def strace(self, *options: str) -> t.List[str]:
        """Trace the process itself, not its children (the compiler, the holder)."""
        return ["strace", "-qq", "-y", f"--trace={','.join(self.changes)}", *options]

    def disturbed(self, scenario: Scenario, wrap: t.Sequence[str]) -> None:
        """Run the task with strace around it, or around its holder."""
        if scenario.holder == "confirm":
            with concurrent.futures.ThreadPoolExecutor() as pool:
                running = pool.submit(self.warm.run, scenario.module, hold_holder=True, **scenario.task)
                holder = self.stopped_holder()
                with self.traced(wrap, holder):
                    os.kill(holder, signal.SIGCONT)
                    done = running.result().result or {}
                    if "provisional" in done:  # otherwise it was killed earlier
                        self.warm.run("xdp_confirm", token=done["provisional"]["token"])
                    self.wait_for_holder()
        elif scenario.holder:
            self.warm.ok(scenario.module, **scenario.task)
            (holder,) = self.holders()
            with self.traced(wrap, holder):
                self.wait_for_holder()
        else:
            self.host.start(scenario.module, wrap=wrap, **scenario.task).communicate(timeout=60)
            self.wait_for_holder()

    @contextlib.contextmanager
    def traced(self, wrap: t.Sequence[str], process: int) -> t.Iterator[None]:
        with subprocess.Popen([*wrap, "-p", str(process)], stderr=subprocess.PIPE, text=True) as tracing:
            while "TracerPid:\t0\n" in pathlib.Path(f"/proc/{process}/status").read_text():
                time.sleep(0.005)
            yield
            tracing.communicate(timeout=60)

    def processes(self) -> t.Dict[int, str]:
        """The host's processes except zombies: process id and state (a letter of proc(5))."""
        inode = os.stat(f"/run/netns/{self.host.name}").st_ino
        found = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):
                if os.stat(entry / "ns/net").st_ino == inode:
                    found[int(entry.name)] = (entry / "stat").read_text().rsplit(")", 1)[1][1]
        return {number: state for number, state in found.items() if state != "Z"}

    def holders(self) -> t.List[int]:
        """The processes that outlive a module: the holders."""
        return [number for number in self.processes() if number not in self.at_rest]

    def stopped_holder(self) -> int:
        return self.wait_until(lambda: [number for number, state in self.processes().items() if state == "T"])[0]

    def wait_for_holder(self) -> None:
        self.wait_until(lambda: not self.holders())

    def wait_until(self, ask: t.Callable[[], T]) -> T:
        deadline = time.monotonic() + 30
        while True:
            answer = ask()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"the host's processes: {self.processes()}")
            time.sleep(0.01)

    def points(self, scenario: Scenario) -> t.List[Point]:
        """The calls with which an undisturbed run changes something, from the module's own process only."""
        self.begin(scenario)
        log = self.folder / "strace"
        self.disturbed(scenario, self.strace(f"--output={log}"))
        lines = log.read_text(errors="replace").splitlines()
        seen: t.Dict[str, int] = {}
        found = []
        for line in lines:
            call, _bracket, arguments = line.partition("(")
            if call not in self.changes:
                continue
            seen[call] = seen.get(call, 0) + 1
            if not re.search(self.changes[call], arguments) or MADE_BY_ANSIBLE.search(arguments):
                continue
            if call == "bpf" and 'prog_name="libbpf' in arguments:
                continue  # libbpf probes the kernel: it does not keep what it loads
            found.append(Point(call, seen[call], self.words(call, arguments)))
        return found

    def words(self, call: str, arguments: str) -> str:
        """What a call is about: short, and the same in each run."""
        if call == "bpf":
            command = arguments.split(",")[0][4:].lower()
            path = re.search(r'pathname="([^"]+)"', arguments)
            return f"{command} {self.short(path.group(1))}" if path else command
        paths = re.findall(r'[<"](/[^">]+)[">]', arguments.replace("AT_FDCWD<", ""))
        return " ".join([call, *dict.fromkeys(self.short(path) for path in paths if path != "/")][:3])

    def short(self, path: str) -> str:
        for prefix, name in (
            (self.host.pins, "PINS"),
            ("/run/ebpf_fleet/" + self.host.pins.replace("/", "%2F"), "RECORDS"),
            (f"{MANIFESTS}/{self.host.pins.replace('/', '%2F')}", "MANIFESTS"),
            (str(self.work), "FOLDER"),
        ):
            path = path.replace(prefix, name)
        return re.sub(r"[0-9a-f]{16}$|(?<=ebpf_fleet\.)[0-9a-f]{8}|(?<=ebpf_fleet_pull\.)\w{8}", "TOKEN", path)

    # What must be true afterwards

    def state(self) -> t.Any:
        """Everything except ids: pins and what they refer to, running programs, files, trace instances, holders."""
        files, mounts, links = self.host.state()
        pins = {}
        for path in files:
            short = self.short(path)
            if path.endswith("/program"):
                pins[short] = bpftool("prog", "show", "pinned", path)["tag"]
            elif path.endswith("/link"):
                link = bpftool("link", "show", "pinned", path)
                program = bpftool("prog", "show", "pinned", path.replace("/link", "/program"))
                pins[short] = "the pinned program" if link["prog_id"] == program["id"] else "another program"
            elif path.endswith(("%2Etrace", "%2Edata")):  # the switch, which must be off; values as they shall be
                pins[short] = bpftool("map", "dump", "pinned", path)[0]["value"]
            elif path.endswith("/block4"):
                pins[short] = sorted(row["key"] for row in bpftool("map", "dump", "pinned", path))
            elif path.endswith("/lists"):
                rows = [each for each in bpftool("map", "dump", "pinned", path) if "error" not in each["value"]]
                numbers = [sum(int(byte, 16) << 8 * at for at, byte in enumerate(row["value"])) for row in rows]
                pins[short] = [sorted(each["key"] for each in bpftool("map", "dump", "id", one)) for one in numbers]
            elif path.endswith(".json"):
                record = json.loads(pathlib.Path(path).read_text())
                record.pop("program_id")
                pins[short] = record
            else:
                pins[short] = None
        modes = {name: (self.host.xdp(name) or {}).get("mode") for name, _program in links}
        work = {
            str(path): path.read_bytes() if path.suffix != ".json" else b""
            for path in self.work.rglob("*")
            if path.is_file()
        }
        instances = [str(each) for each in pathlib.Path("/sys/kernel/tracing/instances").glob("ebpf_fleet.*")]
        waiting = os.path.isdir("/run/ebpf_fleet/provisional") and os.listdir("/run/ebpf_fleet/provisional")
        return pins, modes, work, instances, waiting or [], mounts

    def settle(self, scenario: Scenario) -> None:
        """Run the task again, undisturbed."""
        options = scenario.settled or scenario.task
        self.warm.ok(scenario.module, **options)
        again = self.warm.ok(scenario.module, **options)
        if again.get("changed"):
            raise AssertionError(f"it did not converge: {again.get('steps') or again.get('reasons')}")

    def killed(self, scenario: Scenario, point: Point) -> bool:
        self.begin(scenario)
        kill = f"--inject={point.call}:signal=SIGKILL:when={point.number}"
        output = self.folder / "killed"
        output.write_text("")
        with contextlib.suppress(FileNotFoundError):  # the process that strace was to trace is gone
            self.disturbed(scenario, self.strace(f"--output={output}", kill))
        return "killed by SIGKILL" in output.read_text(errors="replace")

    def judge(self, scenario: Scenario, point: Point, wanted: t.Any) -> str:
        """Kill at a point, run again; returns what is wrong, or nothing."""
        # Twice: on a busy machine a holder may time out before strace traces it, and so is not killed.
        if not self.killed(scenario, point) and not self.killed(scenario, point):
            return "it was not killed there: the runs differ"
        try:
            self.settle(scenario)
            now = self.state()
        except (AssertionError, OSError) as error:
            return f"{error}"
        if now != wanted:
            return "; ".join(f"{one} was found instead of {two}" for one, two in zip(now, wanted) if one != two)
        if scenario.counts is not None:
            counted = self.host.counts(name="counter")[0]
            if counted != scenario.counts:
                return f"{counted} packets counted instead of {scenario.counts}"
        return ""

    def run(self, scenario: Scenario) -> t.Iterator[t.Tuple[Point, str]]:
        points = self.points(scenario)
        self.settle(scenario)
        wanted = self.state()
        for point in points:
            if not self.random or self.random.random() < self.share(point):
                yield point, self.judge(scenario, point, wanted)

    def share(self, point: Point) -> float:
        """How much of the calls like this one a sample has."""
        return SAMPLE


class Booting(Bench):
    """Inside of a host with systemd, on which the programs are restored after a reboot.

    Its twin has the same interfaces, and is booted with the files that are found on the host after a kill.
    """

    changes: t.ClassVar[t.Dict[str, str]] = {**CHANGES, "vfork": ""}  # it starts systemctl

    def __init__(self, host: Host, warm: Warm, folder: pathlib.Path, seed: str) -> None:
        super().__init__(host, warm, folder, seed)
        self.twin = Host(f"{host.name}-twin")
        self.booted: t.Dict[str, t.Any] = {}  # what the twin ran, by the files that it was booted with
        self.allowed: t.List[t.Any] = []
        # Only the twin really restores: here everything runs already.
        folder = pathlib.Path("/run/systemd/system/ebpf-fleet@.service.d")
        (folder / "true.conf").write_text("[Service]\nExecStart=\nExecStart=/bin/true\n")

    def scenarios(self) -> t.List[Scenario]:
        kept, counter, (one, other) = {"persist": "true"}, self.counter, LISTS
        first = counter(1, **kept)
        provisional = {"rollback_after": 1}
        absent = {"state": "absent", "name": "counter"}
        metrics = {"textfile_directory": str(TEXTFILES[0]), "interval": 3600}
        elsewhere = {"textfile_directory": str(TEXTFILES[1]), "interval": 1800}
        watched = [counter(1, persist="false"), {"module": "xdp_metrics", **metrics}]
        # No run of its own disturbs it, as systemd waits for the next day.
        command = pathlib.Path(sys.executable).with_name("ansible-pull")
        pull = {"repository": "/none.git", "name": "one", "every": "daily", "delay": 0, "command": str(command)}
        pulling = [{"module": "xdp_pull", **pull, "key": "its key"}]
        return [
            Scenario("first attach, restored", [], first, counts=0),
            Scenario("upgrade, restored", [first], counter(2)),
            Scenario("different mode, restored", [first], counter(1, mode="generic")),
            Scenario("restored from now on", [counter(1)], first),
            Scenario("no longer restored", [first], counter(1, persist="false")),
            Scenario("no longer restored on one interface", [first], {**absent, "interfaces": BOTH[:1]}, counts=None),
            Scenario("detach, restored", [first], {**absent, "state": "detached"}),
            Scenario("remove, restored", [first], absent, counts=None),
            Scenario("upgrade, to be confirmed, restored", [first], counter(2, **provisional), settled=counter(2)),
            Scenario("entries, restored", [self.blocklist(*one, **kept)], self.blocklist(*other), counts=None),
            Scenario("bpf_map, restored", [self.blocklist(*one, **kept)], self.entries(*other), "bpf_map", counts=None),
            Scenario("metrics", watched[:1], metrics, "xdp_metrics"),
            Scenario("metrics, changed", watched, elsewhere, "xdp_metrics"),
            Scenario("metrics, removed", watched, {"state": "absent"}, "xdp_metrics"),
            Scenario("pull", [], {**pull, "key": "its key"}, "xdp_pull", counts=None),
            Scenario("pull, changed", pulling, {**pull, "every": "weekly"}, "xdp_pull", counts=None),
            Scenario("pull, removed", pulling, {"state": "absent"}, "xdp_pull", counts=None),
            *self.held("first attach, restored", [], kept, first, 0),
            *self.held("upgrade, restored", [first], {"object": counter(2)["object"]}, counter(2), PACKETS),
        ]

    def begin(self, scenario: Scenario) -> None:
        self.warm.ok("xdp_metrics", state="absent")
        self.warm.ok("xdp_pull", state="absent")
        for folder in TEXTFILES:
            folder.mkdir(exist_ok=True)
        super().begin(scenario)
        self.wait_for_metrics()
        units = [self.unit(each) for each in BOTH if self.enabled(each) == "enabled"]
        if units:
            sh("systemctl", "start", *units)  # as a boot leaves it: systemd remembers that it has started them

    def wait_for_metrics(self) -> None:
        """Until the run that the timer begins with is over."""
        words = ("systemctl", "show", "--property=ActiveState", "ebpf-fleet-metrics.service")
        self.wait_until(lambda: sh(*words).strip() in ("ActiveState=inactive", "ActiveState=failed"))

    def unit(self, interface: str) -> str:
        return f"ebpf-fleet@{interface}.service"

    def enabled(self, interface: str) -> str:
        return sh("sh", "-c", f"systemctl is-enabled {self.unit(interface)} 2>/dev/null || :").strip()

    def files(self) -> t.Dict[str, t.Any]:
        """What a reboot restores from: by path the content, or where a link leads to."""
        paths = [path for folder in (UNITS, MANIFESTS) for path in folder.rglob("*")]
        return {
            str(path): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
            for path in sorted([*paths, *([MANIFESTS] if MANIFESTS.exists() else [])])
        }

    def state(self) -> t.Any:
        self.wait_for_metrics()
        known: t.Dict[str, t.Any] = {}
        for interface in BOTH:
            device = f"sys-subsystem-net-devices-{interface}.device"
            words = ("systemctl", "show", "--property=LoadState,UnitFileState,NeedDaemonReload,Wants,ActiveState")
            known[interface] = [self.enabled(interface), sh(*words, device), sh(*words, self.unit(interface))]
        timers = ("ebpf-fleet-metrics", "ebpf-fleet-pull")
        for unit in (f"{name}.{kind}" for name in timers for kind in ("timer", "service")):
            words = ("systemctl", "show", "--property=LoadState,UnitFileState,NeedDaemonReload,ActiveState")
            known[unit] = sh(*words, unit)
        pulled = [*PULLED, *PULLING.parent.glob(f"{PULLING.name}.*")]
        paths = [path for each in pulled for path in (each, *each.rglob("*")) if path.exists()]
        known["for pulling"] = {str(path): path.is_file() and path.read_bytes() for path in paths}
        known["for node_exporter"] = [str(path) for folder in TEXTFILES for path in folder.iterdir()]
        failed = sh("systemctl", "list-units", "--failed", "--no-legend", "--plain")
        files = {path: hashlib.sha256(str(content).encode()).hexdigest() for path, content in self.files().items()}
        return (*super().state(), files, known, failed)

    def after_reboot(self) -> t.Any:
        """What would run on each interface if the host rebooted now, and which units would fail.

        The twin is booted with the same files.
        """
        files = self.files()
        key = hashlib.sha256(repr(files).encode()).hexdigest()
        if key not in self.booted:
            folder = self.folder / "twin"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(UNITS, folder / "etc", symlinks=True)
            if MANIFESTS.exists():
                shutil.copytree(MANIFESTS, folder / "var" / MANIFESTS.name)
            with Systemd(folder, self.twin.name, self.twin.hub) as systemd:
                runs = {each: self.twin.xdp(each) or {} for each in BOTH}
                said = systemd.sh("sh", "-c", "systemctl list-units --failed --no-legend; cat /run/restored || :")
                ran = [(each, run.get("mode"), *content(run.get("prog"))) for each, run in runs.items()]
            self.booted[key] = [*ran, said if "failed" in said else "no unit failed"]
            self.wait_until(lambda: not any(map(self.twin.xdp, BOTH)))
        return self.booted[key]

    def points(self, scenario: Scenario) -> t.List[Point]:
        self.begin(scenario)
        self.allowed = [self.after_reboot()]
        found = super().points(scenario)
        self.settle(scenario)
        self.allowed.append(self.after_reboot())
        return found

    def share(self, point: Point) -> float:
        return BOOTING_SAMPLE[bool(ABOUT_BOOT.search(point.what))]

    def settle(self, scenario: Scenario) -> None:
        found = self.after_reboot()
        if self.allowed[1:] and not all(one in sides for one, sides in zip(found, zip(*self.allowed))):
            raise AssertionError(f"after a reboot {found} would run, neither {' nor '.join(map(str, self.allowed))}")
        super().settle(scenario)


def content(program: t.Optional[t.Mapping[str, t.Any]]) -> t.Tuple[str, t.List[t.Any]]:
    """The tag of a program, and the keys of its list."""
    if not program:
        return "", []
    maps = [bpftool("map", "show", "id", each) for each in bpftool("prog", "show", "id", program["id"])["map_ids"]]
    lists = [bpftool("map", "dump", "id", each["id"]) for each in maps if each.get("name") == "block4"]
    return program["tag"], sorted(row["key"] for rows in lists for row in rows)


Row = t.Tuple[str, str, int, str, str]


def run_all(kind: t.Callable[[Warm], Bench], host: Host, names: t.Sequence[str]) -> t.List[Row]:
    """Run the scenarios with these names, or all; prints a line for each point."""
    rows: t.List[Row] = []
    with Warm(host, MODULES) as warm:
        bench = kind(warm)
        for scenario in bench.scenarios():
            if names and scenario.name not in names:
                continue
            for point, wrong in bench.run(scenario):
                rows.append((scenario.name, point.call, point.number, point.what, wrong))
                print(f"{scenario.name:38} {point.what:78.78} {'NO: ' + wrong if wrong else 'converged'}", flush=True)
    return rows


@contextlib.contextmanager
def a_host(suffix: str = "") -> t.Iterator[t.Tuple[Host, pathlib.Path]]:
    """A host, and a folder for its files."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ebpf-kill", dir="/run"))
    host = Host(f"ebpf-kill-{os.getpid()}{suffix}")
    try:
        yield host, folder
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{host.pins}-foreign")
        host.close()
        shutil.rmtree(folder, ignore_errors=True)


def run_booted(names: t.Sequence[str], seed: str) -> t.List[Row]:
    """This program inside of a host with systemd: its files, its processes and its bpffs."""
    with contextlib.ExitStack() as running:
        host, folder = running.enter_context(a_host("-systemd"))
        systemd = running.enter_context(Systemd(folder, host.name, host.hub))
        temporary = folder / "tmp"
        temporary.mkdir()
        words = ("env", f"--chdir={ROOT}", f"TMPDIR={temporary}", sys.executable, __file__)
        inside = ("--inside", host.name, folder, seed)
        status = subprocess.run(systemd.command(*words, *inside, *names), check=False).returncode
        if status:
            raise RuntimeError(f"the scenarios with systemd ended with status {status}")
        return [t.cast(Row, tuple(row)) for row in json.loads((folder / "rows").read_text())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--whole", action="store_true", help="kill at all calls, as with --record or a SCENARIO")
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS, metavar=("HOST", "FOLDER", "SEED"))
    parser.add_argument("scenario", nargs="*")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(128 + signal.SIGTERM))  # what was made is removed
    if given.inside:
        name, path, seed = given.inside
        inside = Booted(name)
        rows = run_all(lambda warm: Booting(inside, warm, pathlib.Path(path), seed), inside, given.scenario)
        pathlib.Path(path, "rows").write_text(json.dumps(rows))
        return 0
    whole = given.whole or given.record or given.scenario
    seed = "" if whole else sh("git", "-C", ROOT, "rev-parse", "HEAD").strip()
    began = time.monotonic()
    with a_host() as (host, folder):
        rows = run_all(lambda warm: Bench(host, warm, folder, seed), host, given.scenario)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    rows += run_booted(given.scenario, seed)
    print(f"{time.monotonic() - began:.0f} s with systemd")
    failed = [row for row in rows if row[-1]]
    if given.record and not failed:
        points: t.Dict[str, int] = json.loads(RESULTS.read_text()) if given.scenario else {}
        points.update(dict.fromkeys((row[0] for row in rows), 0))
        for row in rows:
            points[row[0]] += 1
        RESULTS.write_text(json.dumps(points, indent=1) + "\n")
    print(f"{len(rows) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())

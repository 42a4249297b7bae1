# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Joining, upgrading and leaving a dispatcher, killed at each call that leaves something behind; a part of sharing.py.

What a process that is killed leaves are pins, files and what is on the interface: so it is killed before each call that
makes or removes one of these. What is only in a process's file descriptors goes with it, so between two of these calls
nothing differs. Each run is a fork of a process that has all modules imported. After each kill the other program must
still see every packet; after the next run all must be as it should be, and nothing be left over.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import time
import typing as t
from unittest import mock

from ansible_collections.ebpf.fleet.plugins.module_utils.attach import dispatcher
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import provisional
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.change import change
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Request, Wanted
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import extensions, maps
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.object_file import inspect

if t.TYPE_CHECKING:
    from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Attachment
    from ansible_collections.ebpf.fleet.plugins.module_utils.attach.work import Work
    from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.config import Slot
    from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

ROOT = "/sys/fs/bpf/ebpf_fleet"
OBJECTS = pathlib.Path(__file__).parent / "objects"
OS_CALLS = ("mkdir", "rmdir", "unlink", "rename")
BPF_CALLS = ("bpf_xdp_attach", "bpf_link_create", "bpf_link_update", "bpf_link_detach")
HELD_SECONDS = 1
PART = 0.05  # of the calls; in a run that is a sample, one of each scenario
PACKETS, SEEN_SECONDS = 5, 5

# They are imported only where they are needed; a child would do that each time.
for _module in (
    *(f"attach.{name}" for name in ("dispatcher", "exactness", "owners", "refusal")),
    *(f"deploy.{name}" for name in ("apply", "contents", "removal", "sharing", "transaction", "upgrade")),
):
    importlib.import_module(f"ansible_collections.ebpf.fleet.plugins.module_utils.{_module}")


class Killer:
    """Kills the process that makes the call of this number, counted over this process and those it forks; 0: none."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)
        self.at = 0

    @property
    def calls(self) -> int:
        return int(struct.unpack("=Q", self._shared[:8])[0])

    @calls.setter
    def calls(self, number: int) -> None:
        self._shared[:8] = struct.pack("=Q", number)

    def wrap(self, function: t.Any) -> t.Any:
        def counted(*arguments: t.Any, **options: t.Any) -> t.Any:
            self.calls += 1
            if self.calls == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    def install(self, lib: Libbpf) -> None:
        for name in OS_CALLS:
            setattr(os, name, self.wrap(getattr(os, name)))
        opened = os.open
        counted = self.wrap(opened)
        os.open = lambda path, flags, *rest, **more: (counted if flags & os.O_CREAT else opened)(
            path, flags, *rest, **more
        )
        declare = lib.declare

        class Calls:
            """libbpf, with some of its functions counted."""

            def __init__(self, c: t.Any, killer: Killer) -> None:
                self._c = c
                for each in BPF_CALLS:
                    with contextlib.suppress(AttributeError):
                        setattr(self, each, killer.wrap(getattr(c, each)))

            def __getattr__(self, name: str) -> t.Any:
                return getattr(self._c, name)

        lib.declare = lambda functions: Calls(declare(functions), self)  # type: ignore[method-assign, assignment, return-value]
        lib.pin = self.wrap(lib.pin)  # type: ignore[method-assign]


class Scenario(t.NamedTuple):
    """`before` and `after`: the version of our counter that runs, 0: none. held: provisional; "confirmed", or not."""

    name: str
    before: int
    after: int
    held: str = ""


SCENARIOS = (
    Scenario("joining", 0, 1),
    Scenario("an upgrade", 1, 2),
    Scenario("leaving", 1, 0),
    Scenario("joining, confirmed", 0, 1, "confirmed"),
    Scenario("an upgrade, confirmed", 1, 2, "confirmed"),
    Scenario("leaving, confirmed", 1, 0, "confirmed"),
    Scenario("joining, taken back", 0, 1, "taken back"),
    Scenario("an upgrade, taken back", 1, 2, "taken back"),
    Scenario("leaving, taken back", 1, 0, "taken back"),
)


class Warm:
    """Deploys versions of our counter on eth0, each time in a fork of this process, which has imported everything."""

    def __init__(self) -> None:
        self._lib = Libbpf()
        self._images: t.Dict[int, Image] = {}
        for version in (1, 2):
            path = str(OBJECTS / f"counter-{version}.bpf.o")
            self._images[version] = inspect(self._lib, path, pathlib.Path(path).read_bytes()).image

    def deploy(self, version: int) -> None:
        """0: remove it. It waits for what the holder of a provisional change has."""
        if self.run(version):
            raise FleetError(f"the run for version {version} failed")

    def run(self, version: int, held: str = "", killer: t.Optional[Killer] = None) -> int:
        """Returns the exit status; a kill ends nothing else."""
        child = os.fork()
        if not child:
            status = 1
            try:
                os.setsid()
                if killer:
                    killer.install(self._lib)
                self._do(version, held)
                status = 0
            except FleetError as error:
                if not killer:
                    sys.stderr.write(f"{error}\n")
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1]

    def _do(self, version: int, held: str) -> None:
        image = self._images[version or 1]
        wanted = Wanted("attached" if version else "absent", "packet_count", image.facts, priority=5)
        seconds = HELD_SECONDS if held else 0
        request = Request(wanted, ROOT, ["eth0"], keep_going=False, check=False, rollback_after=seconds)
        outcome = change(self._lib, request, image, lambda _words: None)
        if outcome.provisional and held == "confirmed":
            provisional.confirm(outcome.provisional.token)


def add_then_remove(
    work: Work, place: Place, ours: t.Optional[Attachment], program: int, slot: t.Optional[Slot] = None
) -> None:
    """dispatcher.swap() as libxdp's calls allow it."""
    for step in reversed(_two_steps(work, place, ours, program, slot)):
        dispatcher._do(work, step, "native")


def remove_then_add(
    work: Work, place: Place, ours: t.Optional[Attachment], program: int, slot: t.Optional[Slot] = None
) -> None:
    for step in _two_steps(work, place, ours, program, slot):
        dispatcher._do(work, step, "native")


def _two_steps(
    work: Work, place: Place, ours: t.Optional[Attachment], program: int, slot: t.Optional[Slot]
) -> t.List[dispatcher._Change]:
    assert ours and ours.component
    comes = dispatcher._duplicate(work, program), slot or ours.component.slot
    return [
        dispatcher._Change(place, ours.ifindex, ours.program_id, None),
        dispatcher._Change(place, ours.ifindex, 0, comes),
    ]


@contextlib.contextmanager
def replaced(name: str, function: t.Any) -> t.Iterator[None]:
    """A function of attach/dispatcher.py, in the processes that Warm forks."""
    with mock.patch.object(dispatcher, name, function):
        yield


@contextlib.contextmanager
def without_waiting() -> t.Iterator[None]:
    with mock.patch.object(extensions, "wait_for_running_programs", lambda _lib: None):
        yield


class Sender:
    """A process in the namespace of the other port, as starting one takes a second on an emulated CPU."""

    PROGRAM = (
        "import socket, sys\n"
        "wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind((sys.argv[1], 0))\n"
        "for line in sys.stdin:\n"
        "    for _each in range(int(line)):\n"
        "        wire.send(b'\\xff' * 6 + b'\\2\\0\\0\\0\\0\\1\\x88\\xb5' + bytes(50))\n"
        "    print(flush=True)\n"
    )

    def __init__(self, namespace: str, port: str) -> None:
        self._words = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", self.PROGRAM, port]

    def __enter__(self) -> Sender:
        self._process = subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._process.communicate()

    def send(self, packets: int) -> None:
        assert self._process.stdin and self._process.stdout
        print(packets, file=self._process.stdin, flush=True)
        self._process.stdout.readline()


class Matrix(Warm):
    def __init__(self, checks: t.Any, wire: t.Any, other: int, sender: Sender) -> None:
        super().__init__()
        self._checks, self._wire, self._sender = checks, wire, sender
        self._map = int(checks.bpftool("prog", "show", "id", other)["map_ids"][0])

    def _expect_all_seen(self, what: str) -> None:
        wanted = self._counted() + PACKETS
        self._sender.send(PACKETS)
        deadline = time.monotonic() + SEEN_SECONDS
        while self._counted() < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        self._checks.expect(self._counted() - wanted + PACKETS, PACKETS, f"{what}: packets that the other counted")

    def _counted(self) -> int:
        """Of all CPUs. bpftool would have to be started each time."""
        with self._lib.map_by_id(self._map) as fd:
            each = maps.lookup(self._lib, fd, bytes(4), 8 * maps.possible_cpus(self._lib))
        return sum(number for (number,) in struct.iter_unpack("=Q", each))

    def _inside(self) -> t.List[str]:
        """The folders of dispatchers, and the programs in the one on the interface, from libxdp's pins."""
        folders = sorted(pathlib.Path("/sys/fs/bpf/xdp").glob("dispatch-*"))
        (_mode, number) = self._wire.xdp() or ("", 0)
        current = [each for each in folders if each.name.endswith(f"-{number}")]
        self._checks.expect([each.name for each in folders], [each.name for each in current], "folders of dispatchers")
        pins = sorted(current[0].glob("prog*-prog")) if current else []
        return [self._checks.bpftool("prog", "show", "pinned", each)["name"] for each in pins]

    def try_all(self, scenario: Scenario, chosen: t.Callable[[int], t.Iterable[int]]) -> t.Tuple[int, int]:
        """Kill at the chosen calls; returns how often it was killed, and how many calls there are."""
        self.deploy(scenario.before)
        counting = Killer()
        self.run(scenario.after, scenario.held, counting)
        if scenario.held:
            time.sleep(HELD_SECONDS)
        self.deploy(scenario.before)
        calls, killed = counting.calls, 0
        for at in chosen(calls):
            what = f"{scenario.name}, killed at call {at} of {calls}"
            killer = Killer()
            killer.at = at
            self.run(scenario.after, scenario.held, killer)
            self._expect_all_seen(what)
            self.deploy(scenario.after)  # waits for the holder, which may be killed last
            killed += killer.calls >= at
            wanted = ["packet_count", "second_count"] if scenario.after else ["second_count"]
            self._checks.expect(self._inside(), wanted, f"{what}: programs after the next run")
            self._expect_all_seen(f"{what}, and run again")
            self.deploy(scenario.before)
        return killed, calls


def matrix(checks: t.Any, wire: t.Any, other: int) -> str:
    asked = re.search(r"\bkills=(\S+)", pathlib.Path("/proc/cmdline").read_text())
    sample = re.search(r"\bsample=(\S+)", pathlib.Path("/proc/cmdline").read_text())
    part = float(asked.group(1)) if asked else 0.0 if sample else PART
    chance = random.Random(sample.group(1) if sample else os.uname().release)

    def chosen(calls: int) -> t.List[int]:
        return sorted(chance.sample(range(1, calls + 1), max(1, round(calls * part))))

    with Sender(checks.HUB, f"p-{wire.interface}") as sender:
        found = Matrix(checks, wire, other, sender)
        done = [found.try_all(each, chosen) for each in SCENARIOS]
    return (
        f"{sum(killed for killed, _calls in done)} kills at {sum(calls for _killed, calls in done)} calls, all mended"
    )

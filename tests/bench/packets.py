# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost and exactness per packet: our program, the walkthrough's and the usual alternatives, by test runs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
import subprocess
import threading
import time
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import maps
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import map_info
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import Object, open_object
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.probe import test_run
from report import Row, at_least, at_most, of_rounds

ROOT = pathlib.Path(__file__).resolve().parents[2]
COST = "cost of a packet (64 bytes, BPF_PROG_TEST_RUN, CPU time a run, interleaved rounds)"
EXACT = "counted over sent (two CPUs at once)"
COMMAND = "make bench"

PACKET = bytes(12) + b"\x08\x00" + b"\x45" + bytes(11) + b"\x0a\x09\x00\x01\x0a\x09\x00\x02" + bytes(30)
SWITCH = struct.Struct("=QII")  # struct trace in packet_count.bpf.c
FOREVER = 2**63
COPIES = 41


class Program(t.NamedTuple):
    """A program in the table. `counts`: how, and in which map. `both`: bytes as well as packets.

    `flags`: of the compiler.
    """

    label: str
    object: str
    program: str
    counts: str
    both: bool = True
    trace_every: int = 0
    cost_only: bool = False
    flags: t.Tuple[str, ...] = ()


CONTEXT = "ours with frags and KERNEL_CONTEXT"
PROGRAMS = (
    Program("empty", "empty", "empty", "", both=False),
    Program("empty once more", "empty", "empty", "", both=False),
    Program("empty, but for asking its length", "empty", "length", "", both=False),
    Program("a per-CPU counter and nothing else", "floor", "least", "per CPU counters", False, cost_only=True),
    Program("ours", "packet_count", "packet_count", "per CPU counters"),
    Program("ours with frags", "packet_count", "packet_count_frags", "per CPU counters"),
    Program(CONTEXT, "packet_count", "packet_count_frags", "per CPU counters", flags=("-DKERNEL_CONTEXT",)),
    Program("ours, each 1000th traced", "packet_count", "packet_count", "per CPU counters", True, 1000, True),
    Program("ours, each traced", "packet_count", "packet_count", "per CPU counters", True, 1, True),
    Program("per-CPU array by XDP action", "actions", "actions", "per CPU counters"),
    Program("mapped array by CPU", "mapped", "mapped", "by CPU .bss"),
    Program("atomic global", "atomic", "atomic", "global .bss"),
    Program("LRU hash by source address", "lru", "lru", "hash counters"),
    Program("the walkthrough's", "walkthrough", "packet_count", "int .bss", both=False),
)
PRINTS = ("ours, each traced", "the walkthrough's")


def compiled(folder: pathlib.Path, name: str, *flags: str) -> bytes:
    """Compile a source of the collection, its tests or this benchmark with the collection's Makefile."""
    places = [ROOT / "files/bpf", ROOT / "tests/bench/bpf", ROOT / "tests/integration/bpf", ROOT / "examples" / name]
    source = next(place / f"{name}.bpf.c" for place in places if (place / f"{name}.bpf.c").exists())
    made = folder / "-".join([name, *(flag.strip("-").replace("=", "_") for flag in flags), "o"])
    if not made.exists():
        (folder / source.name).write_bytes(source.read_bytes())
        makefile = str(ROOT / "files/bpf/Makefile")
        words = ["make", "-s", "-C", str(folder), "-f", makefile, f"CFLAGS=-Wall {' '.join(flags)}", f"{name}.bpf.o"]
        subprocess.run(words, check=True)
        (folder / f"{name}.bpf.o").rename(made)
    return made.read_bytes()


class Loaded(t.NamedTuple):
    program: Program
    opened: Object
    fd: int


@contextlib.contextmanager
def loaded(lib: Libbpf, folder: pathlib.Path, programs: t.Iterable[Program]) -> t.Iterator[t.List[Loaded]]:
    """Load all into the kernel, attached to no interface."""
    with contextlib.ExitStack() as stack:
        found = []
        for each in programs:
            opened = stack.enter_context(open_object(lib, compiled(folder, each.object, *each.flags), each.object))
            opened.load({each.program}, {})
            if each.trace_every:
                switch = SWITCH.pack(FOREVER, each.trace_every, 0)
                maps.update(lib, opened.map_fd("packet_c.data"), bytes(4), switch)
            found.append(Loaded(each, opened, opened.program_fd(each.program)))
        yield found


def cost(lib: Libbpf, folder: pathlib.Path, rounds: int) -> t.List[Row]:
    """ns per packet more than the empty program, by differences within rounds, as these machines are noisy."""
    runs = 1_000_000
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ns: t.Dict[str, t.List[float]] = {each.label: [] for each in PROGRAMS}
    with contextlib.ExitStack() as stack:
        # The address of a program's code makes it faster or slower by some tenths of a ns.
        copies = [stack.enter_context(loaded(lib, folder, PROGRAMS)) for _copy in range(COPIES)]
        for number in range(rounds):
            for each in copies[number % COPIES]:
                repeat = runs // 20 if each.program.label in PRINTS else runs
                start = time.thread_time_ns()
                test_run(lib, each.fd, PACKET, repeat)
                ns[each.program.label].append((time.thread_time_ns() - start) / repeat)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))

    def above(label: str) -> t.List[float]:
        return [one - empty for one, empty in zip(ns[label], ns["empty"])]

    rows = [of_rounds(COST, "empty program", ns["empty"], "ns", COMMAND)]
    rows += [of_rounds(COST, f"{p.label}, above empty", above(p.label), "ns", COMMAND) for p in PROGRAMS[1:]]
    by_name = {row.name: number for number, row in enumerate(rows)}

    def hold(name: str, change: t.Callable[[Row], Row]) -> None:
        rows[by_name[f"{name}, above empty"]] = change(rows[by_name[f"{name}, above empty"]])

    hold("ours", lambda row: at_most(row, 1.0))
    hold("ours with frags", lambda row: at_most(row, 2.0))
    # "Not slower" means by no more than an empty program differs from itself.
    itself = of_rounds(COST, "", above("empty once more"), "ns", COMMAND)
    noise = max(abs(itself.low or 0), abs(itself.high or 0))
    for other in (p for p in PROGRAMS if p.both and not p.label.startswith("ours")):
        slower = [one - two for one, two in zip(ns["ours"], ns[other.label])]
        row = of_rounds(COST, f"ours, above {other.label}", slower, "ns", COMMAND)
        rows.append(at_most(row, noise, f"at most {noise:.2f}, the noise"))
    beyond = [one - two for one, two in zip(ns[CONTEXT], ns["ours"])]
    rows.append(at_most(of_rounds(COST, f"{CONTEXT}, above ours", beyond, "ns", COMMAND), 0.3))
    # The part that we can change; the rest is the kernel's and the machine's.
    for one, floor in (("ours", "a per-CPU counter and nothing else"), ("ours with frags", PROGRAMS[2].label)):
        beyond = [first - second for first, second in zip(ns[one], ns[floor])]
        rows.append(of_rounds(COST, f"{one}, above {floor}", beyond, "ns", COMMAND))
    times = [one / two for one, two in zip(above("the walkthrough's"), (max(x, 0.1) for x in above("ours")))]
    row = of_rounds(COST, "the walkthrough's over ours, above empty", times, "times", COMMAND)
    return [*rows, at_least(row, 10)]


def exactness(lib: Libbpf, folder: pathlib.Path, packets: int) -> t.List[Row]:
    """Both CPUs run one program at the same time; `packets` in total."""
    rows = []
    programs = [each for each in PROGRAMS if each.counts and not each.cost_only]
    with loaded(lib, folder, programs) as all_of_them:
        for each in all_of_them:
            sent = packets // 10 if each.program.label in PRINTS else packets
            on_all_cpus(lib, each.fd, sent)
            ratio = counted(lib, each) / sent
            row = Row(EXACT, f"{each.program.label}, of {sent:,}", ratio, "of 1", COMMAND)
            if each.program.label.startswith("ours"):
                row = row._replace(goal="exactly 1", met=ratio == 1, exact=True)
            rows.append(row)
    return rows


def on_all_cpus(lib: Libbpf, fd: int, packets: int) -> None:
    """Two threads, each on its own CPU (or both on one, if there is only one)."""
    cpus = sorted(os.sched_getaffinity(0))
    chunk = 500_000
    gate = threading.Barrier(2)

    def run(cpu: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        gate.wait()
        left = packets // 2
        while left:
            test_run(lib, fd, PACKET, min(chunk, left))
            left -= min(chunk, left)

    threads = [threading.Thread(target=run, args=(cpu,)) for cpu in (cpus[0], cpus[-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def counted(lib: Libbpf, each: Loaded) -> int:
    """The number of packets in the program's own map."""
    how, _space, name = each.program.counts.rpartition(" ")
    names = [m.name for m in each.opened.maps]
    fd = each.opened.map_fd(next(n for n in names if n == name or n.endswith(name)))
    shape = map_info(lib, fd).shape
    if how == "per CPU":
        return sum(
            struct.unpack_from("=Q", data, at)[0]
            for key in range(shape.max_entries)
            for data in [maps.lookup(lib, fd, struct.pack("=I", key), 16 * maps.possible_cpus(lib))]
            for at in range(0, len(data), 16)
        )
    if how == "hash":
        return int(struct.unpack_from("=Q", maps.lookup(lib, fd, PACKET[26:30], shape.value_size))[0])
    data = maps.lookup(lib, fd, bytes(4), shape.value_size)
    if how == "int":
        return int(struct.unpack_from("=I", data)[0])
    step = 64 if how == "by CPU" else len(data)
    return sum(struct.unpack_from("=Q", data, at)[0] for at in range(0, len(data), step))

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fuzz.py [--record] [--whole] [--seed N]: thousands of damaged objects, senseless options and entries of maps.

Whatever it gets, a module refuses with a sentence or does what was asked. It never ends in a traceback, is never killed
by a signal, and leaves the host unchanged if it reports failure. `make test-fuzz` runs this: 500 of each, the same for
the same seed, with --whole or --record 2,000. --record saves the figures of a run that passed, for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import string
import sys
import tempfile
import time
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from commands import sh
from host import PINS, Host
from paths import BPF, ROOT
from warm import Run, Warm

RESULTS = pathlib.Path(__file__).with_name("fuzz.json")
BPFFS = "/sys/fs/bpf"  # also a value of pin_root
CULPRITS = ROOT / "build/fuzz"  # objects that a module handled wrongly
SEED = 20261125
WHOLE, SAMPLE = 2000, 500  # runs of each kind
MODULES = (
    "xdp_program",
    "xdp_counter_facts",
    "bpf_map",
    "bpf_map_info",
    "bpf_object",
    "bpf_object_info",
    "bpf_program_info",
    "bpf_facts",
    "xdp_confirm",
)
EXAMPLES = ("blocklist", "protocols", "ratelimit")
SOURCES = {
    "packet_count": ROOT / "files/bpf",
    "counter": BPF,
    "tail": BPF,
    "walkthrough": BPF,
    **{name: ROOT / "examples" / name for name in EXAMPLES},
}
# Maps of the examples, with a key and a value that they take.
MAPS: t.Dict[str, t.Tuple[str, t.Any, t.Any]] = {
    "block4": ("blocklist", "192.0.2.0/24", 1),
    "block6": ("blocklist", "2001:db8::/32", 1),
    "verdicts": ("blocklist", 1, {"packets": 1, "bytes": 2}),
    "kinds": ("protocols", {"vlan": 1, "ethertype": 2048, "protocol": 6, "unused": [0, 0, 0]}, {"packets": 3}),
    "sources": ("ratelimit", "192.0.2.1", {"due": 0, "over": 1}),
}


def objects(folder: pathlib.Path) -> t.Dict[str, bytes]:
    """Valid objects, to be damaged."""
    found = {}
    for name, home in SOURCES.items():
        shutil.copy(home / f"{name}.bpf.c", folder)
        makefile = ROOT / "files/bpf/Makefile"
        sh("make", "-s", "-f", makefile, "CFLAGS=-Wall -DVERSION=1", f"{name}.bpf.o", cwd=folder)
        found[name] = (folder / f"{name}.bpf.o").read_bytes()
    return found


def flip_bits(good: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(good)
    for _flip in range(chance.choice((1, 1, 2, 4, 8, 32))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(good: bytes, chance: random.Random) -> bytes:
    return good[: chance.randrange(len(good))]


def damage_header(good: bytes, chance: random.Random) -> bytes:
    """Change a number in the ELF header or in the section table, so that it points elsewhere."""
    damaged = bytearray(good)
    table = int.from_bytes(good[40:48], "little")
    start, length = chance.choice(((16, 48), (table, len(good) - table)))
    for _byte in range(chance.choice((1, 1, 2, 4))):
        damaged[start + chance.randrange(length)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(damaged)


def overwrite(good: bytes, chance: random.Random) -> bytes:
    """Overwrite a stretch with a copy of another part, with zeros, or with noise."""
    damaged = bytearray(good)
    length = chance.choice((4, 8, 16, 64, 256))
    at, other = chance.randrange(len(good) - length), chance.randrange(len(good) - length)
    damaged[at : at + length] = chance.choice((good[other : other + length], bytes(length), chance.randbytes(length)))
    return bytes(damaged)


def damage_types(good: bytes, chance: random.Random) -> bytes:
    """Change bytes of the type information (BTF), which says what variables, keys and values mean."""
    damaged, types = bytearray(good), read_elf(good, "").sections[".BTF"]
    start = good.find(types)
    for _byte in range(chance.choice((1, 1, 2, 4, 8))):
        damaged[start + chance.randrange(len(types))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(damaged)


DAMAGE: t.Tuple[t.Callable[[bytes, random.Random], bytes], ...] = (flip_bits, truncate, damage_header, overwrite)


def ended_in_ansible_core(said: str) -> bool:
    """Whether its own check of the options ended in a traceback, as for an int that is a list of large numbers."""
    frames = re.findall(r'File "([^"]+)"', said)
    ours = [path for path in frames if "/ebpf/fleet/plugins/module_utils/" in path]
    return bool(frames) and not ours and "/ansible/module_utils/common/" in frames[-1]


class Ground:
    """A host with a working counter, and the rules that each run must keep."""

    def __init__(self, host: Host, warm: Warm, folder: pathlib.Path, good: pathlib.Path) -> None:
        self.host, self.warm, self.folder, self.good = host, warm, folder, good
        name = good.name.split(".")[0]
        self.usual: t.Dict[str, t.Any] = {
            "object": str(good),
            "interfaces": ["eth0"],
            "name": name,
            "allow_unsafe_paths": True,
        }
        self.faults: t.List[str] = []
        self.outcomes: t.Counter[str] = collections.Counter()
        self.reset()

    def reset(self) -> None:
        for pin_root, pins in ((PINS, self.host.pins), (BPFFS, f"{BPFFS}/@{self.host.name}")):
            for name in sorted(os.listdir(pins)) if os.path.isdir(pins) else ():
                self.warm.ok("xdp_program", state="absent", name=name, pin_root=pin_root)
        self.warm.ok("xdp_program", **self.usual)
        self.before = self.host.state()

    def judge(self, run: Run, what: str) -> None:
        """Record the outcome of a run, and whether it is allowed."""
        result = run.result
        if result is None and ended_in_ansible_core(run.said):
            self.outcomes["ansible-core crashed on it"] += 1
            return
        fault = ""
        if run.status & 0x7F:
            fault = f"killed by signal {run.status & 0x7F}"
        elif result is None:
            fault = "no result"
        elif "Traceback" in run.said + json.dumps(result):
            fault = "a traceback"
        elif result.get("failed") and not result.get("msg", "").strip():
            fault = "failed without a word"
        elif (result.get("failed") or not result.get("changed")) and self.host.state() != self.before:
            fault = "it changed the host without reporting it"
        if fault:
            self.faults.append(f"{fault}: {what}: {run.said[-600:] or json.dumps(result)[:600]}")
            if what.startswith("object"):
                CULPRITS.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.folder / "damaged.bpf.o", CULPRITS / f"{re.findall('[0-9]+', what)[0]}.bpf.o")
        outcome = "done"
        if result and result.get("failed"):
            outcome = "libbpf crashed on it" if "crashes when opening it" in result.get("msg", "") else "refused"
        self.outcomes[fault or outcome] += 1
        if fault or (result and result.get("changed")):
            self.reset()


def fuzz_objects(ground: Ground, good: t.Mapping[str, bytes], count: int, chance: random.Random) -> None:
    path = ground.folder / "damaged.bpf.o"
    for number in range(count):
        name = chance.choice(sorted(good))
        how = chance.choice(DAMAGE)
        path.write_bytes(how(good[name], chance))
        options: t.Dict[str, t.Any] = {
            **ground.usual,
            "object": str(path),
            "name": chance.choice(("packet_count", "new")),
        }
        options["interfaces"] = [chance.choice(("eth0", "eth0.10"))]
        options["state"] = chance.choice(("attached", "attached", "loaded"))
        options["maps"] = chance.choice(("keep", "reset"))
        if name == "tail":
            options["program"] = "called"
        ground.judge(ground.warm.run("xdp_program", **options), f"object {number}, {name} by {how.__name__}")
        if number % 10 == 0:
            run = ground.warm.run("bpf_object_info", path=[str(path)], disassemble=chance.random() < 0.1)
            ground.judge(run, f"bpf_object_info of object {number}, {name} by {how.__name__}")


def fuzz_types(ground: Ground, good: t.Mapping[str, bytes], count: int, chance: random.Random) -> None:
    """Objects with damaged types, and tasks that need them."""
    path = ground.folder / "damaged.bpf.o"
    for number in range(count):
        name = chance.choice(EXAMPLES)
        path.write_bytes(damage_types(good[name], chance))
        options: t.Dict[str, t.Any] = {**ground.usual, "object": str(path), "name": "new", "interfaces": ["eth0.10"]}
        kind = chance.choice([each for each, (program, _key, _value) in MAPS.items() if program == name])
        _name, key, value = MAPS[kind]
        options["map_entries"] = [{"map": kind, "entries": [{"key": key, "value": value}]}]
        options["variables"] = chance.choice(({}, {"enforce": False}, {"config": {"rate": 5}}))
        options["map_sizes"] = chance.choice(({}, {kind: 7}))
        ground.judge(ground.warm.run("xdp_program", **options), f"object {number}, {name} with damaged types")


def fuzz_entries(ground: Ground, count: int, chance: random.Random) -> None:
    """Entries that make no sense, or only some."""
    name = ground.usual["name"]
    mine = [(kind, key, value) for kind, (program, key, value) in MAPS.items() if program == name]
    listed = ground.folder / "list"

    def odd(value: t.Any) -> t.Any:
        if isinstance(value, dict) and chance.random() < 0.5:
            return {**value, chance.choice((*value, "nosuch")): values(ground, chance)}
        return chance.choice((value, value, values(ground, chance), str(value)[:-1], f"{value}/99", [value]))

    for number in range(count):
        kind, key, value = chance.choice(mine)
        options: t.Dict[str, t.Any] = {"name": name, "map": kind, "allow_unsafe_paths": True}
        way = chance.choice(("entries", "keys", "src"))
        if way == "entries":
            options["entries"] = [{"key": odd(key), "value": odd(value)} for _each in range(chance.randrange(4))]
        else:
            options["value"] = odd(value)
            options["keys"] = [odd(key) for _each in range(chance.randrange(4))]
        if way == "src":
            text = json.dumps(options.pop("keys"))
            listed.write_bytes(
                chance.choice((text.encode(), text.encode()[:-2], chance.randbytes(40), b"key,value\n1,2"))
            )
            options.update(src=str(listed), format=chance.choice(("lines", "json", "csv")))
        for more in chance.sample(("exclusive", "replace", "state", "formats", "diff_limit", "exclusive_within"), 2):
            usual = {"exclusive": True, "replace": "at_once", "state": "absent", "diff_limit": 1}
            options[more] = chance.choice((usual.get(more), values(ground, chance)))
        module = chance.choice(("bpf_map", "bpf_map", "bpf_map_info"))
        if module == "bpf_map_info":
            options = {one: each for one, each in options.items() if one in OPTIONS["bpf_map_info"] or one == "map"}
        ground.judge(ground.warm.run(module, **options), f"entries {number}, {module} {options!r:.300}")


def values(ground: Ground, chance: random.Random) -> t.Any:
    """A value that an option may get by mistake or malice, but none that lets a run do harm."""
    words = ["eth0", "eth0.10", "packet_count", "absent", "-", str(ground.good), str(ground.folder / "pipe")]
    words += ["/dev/null", "/dev/zero", "/proc/self/mem", "/sys/fs/bpf", "/nowhere/at/all"]
    return chance.choice(
        (
            lambda: chance.choice(words),
            lambda: "".join(
                chance.choice(string.printable) for _each in range(chance.choice((0, 1, 5, 40, 300, 5000)))
            ),
            lambda: "".join(chr(chance.choice((0, 7, 0x7F, 0xA0, 0x2028, 0x1F600, 0xFFFD))) for _each in range(3)),
            lambda: chance.choice((0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**30)),
            lambda: chance.choice((0.5, -1.5, 1e308, -0.0)),
            lambda: chance.choice((True, False, None)),
            lambda: [values(ground, chance) for _each in range(chance.randrange(4))],
            lambda: {str(values(ground, chance)): values(ground, chance) for _each in range(chance.randrange(3))},
            lambda: chance.choice(
                ("$(reboot)", "`id`", "; touch /run/ebpf-fleet-was-here", "%s%n", "../../../etc/passwd")
            ),
        )
    )()


COMPILES = tuple("content defines cflags include_dirs clang cpu".split())

# By module: the options that get arbitrary values, besides those that make a run do something.
OPTIONS: t.Dict[str, t.Tuple[str, ...]] = {
    "xdp_program": tuple(
        "state object content content_checksums checksum program name interfaces mode on_conflict maps on_error"
        " allow_unsafe_paths pin_root rollback_after reachable check_seconds persist variables map_sizes"
        " map_entries".split()
    ),
    "bpf_map": tuple(
        "name interfaces map slot pinned entries keys value src format state exclusive exclusive_within replace formats"
        " diff_limit rollback_after reachable persist pin_root allow_unsafe_paths".split()
    ),
    "bpf_map_info": tuple(
        "name interfaces map slot pinned id keys limit cpus formats pin_root allow_unsafe_paths".split()
    ),
    "xdp_counter_facts": ("name", "interfaces", "trace_lines", "trace_every", "pin_root", "allow_unsafe_paths"),
    "bpf_object": (*COMPILES, *"byte_order disassemble force mode owner group allow_unsafe_paths".split()),
    "bpf_object_info": ("path", "disassemble"),
    "bpf_program_info": ("name", "id", "tag", "pinned", "dump"),
    "bpf_facts": ("pin_root",),
    "xdp_confirm": ("token", "interfaces"),
}


def fuzz_options(ground: Ground, count: int, chance: random.Random) -> None:
    source = ground.folder / "packet_count.bpf.c"
    usual: t.Dict[str, t.Dict[str, t.Any]] = {
        "xdp_program": ground.usual,
        "bpf_object": {"src": str(source), "dest": str(ground.folder / "built" / "x.bpf.o")},
        "bpf_object_info": {"path": [str(ground.good)]},
        "xdp_confirm": {"token": "0"},
        "bpf_map": {"name": "packet_count", "map": "counters", "keys": [0]},
        "bpf_map_info": {"name": "packet_count", "map": "counters"},
    }
    for number in range(count):
        module = chance.choices(sorted(OPTIONS), [6 if name == "xdp_program" else 1 for name in sorted(OPTIONS)])[0]
        options = dict(usual.get(module, {}))
        for name in chance.sample(OPTIONS[module], min(len(OPTIONS[module]), chance.choice((1, 1, 2, 4)))):
            options[name] = values(ground, chance)
        # `build` is always a dictionary: for a number, ansible-core's own check of suboptions ends in a traceback.
        if module == "xdp_program" and chance.random() < 0.2:
            options["build"] = {"src": str(source), chance.choice(COMPILES): values(ground, chance)}
            options["object"] = str(ground.folder / "built" / "y.bpf.o")
        check = chance.random() < 0.2
        ground.judge(ground.warm.run(module, check=check, **options), f"options {number}, {module} {options!r:.300}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--whole", action="store_true", help=f"{WHOLE} of each, as with --record")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    count = WHOLE if given.whole or given.record else SAMPLE
    chance = random.Random(given.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ebpf-fuzz", dir="/run"))
    host = Host(f"ebpf-fuzz-{os.getpid()}")
    began = time.monotonic()
    os.mkfifo(folder / "pipe")
    rows: t.Dict[str, t.Counter[str]] = {}
    faults: t.List[str] = []
    try:
        good = objects(folder)
        with Warm(host, MODULES) as warm:
            ground = Ground(host, warm, folder, folder / "packet_count.bpf.o")
            fuzz_objects(ground, good, count, chance)
            rows["damaged objects"], ground.outcomes = ground.outcomes, collections.Counter()
            fuzz_options(ground, count, chance)
            rows["options"], ground.outcomes = ground.outcomes, collections.Counter()
            fuzz_types(ground, good, count, chance)
            rows["objects with damaged types"] = ground.outcomes
            faults += ground.faults
            rows["entries of maps"] = collections.Counter()
            for name in EXAMPLES:
                ground.warm.ok("xdp_program", state="absent", name=ground.usual["name"], allow_unsafe_paths=True)
                ground = Ground(host, warm, folder, folder / f"{name}.bpf.o")
                fuzz_entries(ground, count // len(EXAMPLES), chance)
                rows["entries of maps"] += ground.outcomes
                faults += ground.faults
    finally:
        host.close()
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists("/run/ebpf-fleet-was-here"):
        faults.append("something that was given reached a shell: /run/ebpf-fleet-was-here exists")
    for fault in faults:
        print(re.sub(r"\s+", " ", fault), file=sys.stderr)
    print(f"seed {given.seed}, {time.monotonic() - began:.0f} s")
    for what, outcomes in rows.items():
        print(
            f"{what}: {sum(outcomes.values())} runs: {', '.join(f'{n} {name}' for name, n in sorted(outcomes.items()))}"
        )
    if given.record and not faults:
        RESULTS.write_text(json.dumps({"seed": given.seed, "rows": rows}, indent=1, sort_keys=True) + "\n")
    print(f"{sum(sum(outcomes.values()) for outcomes in rows.values()) - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

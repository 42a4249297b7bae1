# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of maps: written and found unchanged, against bpftool's batches, and against a bpftool process for each."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import json
import os
import pathlib
import struct
import subprocess
import sys
import time
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.filling import compare, filling_of
from ansible_collections.ebpf.fleet.plugins.module_utils.entries import writing
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import typed
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.elements import Elements
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import map_info
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.loaded_btf import loaded_btf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import open_object
from packets import COMMAND, compiled
from paths import COLLECTIONS
from report import Row, at_least, at_most, of_rounds

ROUNDS = 3
CHANGED = 100  # one entry in so many
PROCESSES = 100  # that are started, one for each entry; the rest is calculated
OPTIONS: t.Dict[str, t.Any] = {
    "entries": None,
    "keys": None,
    "value": None,
    "src": None,
    "state": "present",
    "exclusive": True,
    "exclusive_within": None,
    "replace": "in_place",
    "formats": None,
    "diff_limit": 100,
}


class Kind(t.NamedTuple):
    """A map of lists.bpf.c. `line`: of the file for entry n; `bytes`: the same for bpftool, key and value.

    `changed`: the line of what takes its place. `batch`, `process`: how many times faster than bpftool at the largest
    size; None: no bar.
    """

    what: str
    map: str
    format: str
    head: str
    line: t.Callable[[int], str]
    changed: t.Callable[[int], str]
    bytes: t.Callable[[int], t.Tuple[bytes, bytes]]
    batch: t.Optional[float] = None
    process: t.Optional[float] = None


def _address(number: int) -> bytes:
    return struct.pack(">I", 10 << 24 | number)


def _text(number: int) -> str:
    return str(ipaddress.IPv4Address(_address(number)))


KINDS = (
    Kind(
        "hash, u32 to u64",
        "numbers",
        "csv",
        "key,value",
        lambda n: f"{n},{n}",
        lambda n: f"{n},{n + 1}",
        lambda n: (struct.pack("=I", n), struct.pack("=Q", n)),
        8,
        400,
    ),
    Kind(
        "LPM trie, IPv4 prefixes as text",
        "prefixes",
        "lines",
        "# addresses",
        _text,
        lambda n: _text(n | 1 << 23),
        lambda n: (struct.pack("=I", 32) + _address(n), bytes(4)),
        3,
        400,
    ),
    Kind(
        "per-CPU array, u32 to u64",
        "counters",
        "csv",
        "key,value",
        lambda n: f"{n},{n}",
        lambda n: f"{n},{n + 1}",
        lambda n: (struct.pack("=I", n), struct.pack("=Q", n)),
    ),
)


def lists(lib: Libbpf, folder: pathlib.Path, sizes: t.Sequence[int]) -> t.List[Row]:
    rows: t.List[Row] = []
    gc.disable()  # as a module does
    for size in sizes:
        section = f"entries of a map, {size:,} from a file (ratios within this run)"
        for kind in KINDS:
            rows += [row._replace(section=section) for row in _of_kind(lib, folder, kind, size, size == max(sizes))]
    gc.enable()
    return rows


def _of_kind(lib: Libbpf, folder: pathlib.Path, kind: Kind, size: int, largest: bool) -> t.Iterator[Row]:
    listed = folder / f"{kind.map}.{kind.format}"
    listed.write_text("\n".join([kind.head, *map(kind.line, range(size))]))
    rounds = [_round(lib, folder, kind, size, listed) for _number in range(ROUNDS)]
    with _filled(lib, folder, kind, size) as (fd, pin):
        _ours(lib, fd, kind, listed)
        module, memory = _module(pin, kind, listed, 0)
        lines = (kind.line(number) if number % CHANGED else kind.changed(number) for number in range(size))
        listed.write_text("\n".join([kind.head, *lines]))
        changed, _memory = _module(pin, kind, listed, size // CHANGED)

    def row(name: str, value: float, unit: str) -> Row:
        return Row("", f"{kind.what}: {name}", value, unit, COMMAND)

    def of_each(name: str, values: t.Iterable[float], unit: str) -> Row:
        return of_rounds("", f"{kind.what}: {name}", list(values), unit, COMMAND)

    def held(made: Row, least: t.Optional[float]) -> Row:
        return at_least(made, least) if least and largest else made

    yield of_each("written", (each.written for each in rounds), "s")
    yield held(of_each("bpftool batch over ours", (each.batch / each.written for each in rounds), "times"), kind.batch)
    apart = of_each("a bpftool process for each over ours", (each.apart / each.written for each in rounds), "times")
    yield held(apart, kind.process)
    again = of_each("unchanged over written", (each.unchanged / each.written for each in rounds), "times")
    yield at_most(again, 2) if largest else again
    yield row("an unchanged bpf_map, with the start of Python", module, "s")
    yield row("its memory", memory, "MiB")
    yield row(f"bpf_map, one in {CHANGED} changed, and only that written", changed, "s")


class Round(t.NamedTuple):
    """Seconds. `batch`: of bpftool's; `apart`: with a process of bpftool for each entry."""

    written: float
    unchanged: float
    batch: float
    apart: float


def _round(lib: Libbpf, folder: pathlib.Path, kind: Kind, size: int, listed: pathlib.Path) -> Round:
    with _filled(lib, folder, kind, size) as (fd, _pin):
        written, unchanged = (_seconds(lambda: _ours(lib, fd, kind, listed)) for _run in range(2))
    with _filled(lib, folder, kind, size) as (_fd, pin):
        commands = _batch(folder, kind, pin, size)
        batch = _seconds(lambda: _run("batch", "file", commands))
        processes = min(size, PROCESSES)
        apart = _seconds(lambda: _bpftool_processes(kind, pin, processes)) / processes * size
    return Round(written, unchanged, batch, apart)


@contextlib.contextmanager
def _filled(lib: Libbpf, folder: pathlib.Path, kind: Kind, size: int) -> t.Iterator[t.Tuple[int, str]]:
    """A new, empty map with room for what is changed, and its pin."""
    pin = f"/sys/fs/bpf/ebpf-bench-{os.getpid()}"
    with open_object(lib, compiled(folder, "lists", f"-DENTRIES={size + size // CHANGED}"), "lists") as opened:
        opened.load({"lists"}, {})
        fd = opened.map_fd(kind.map)
        lib.pin(fd, pin)
        try:
            yield fd, pin
        finally:
            os.unlink(pin)


def _seconds(do: t.Callable[[], None]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def _ours(lib: Libbpf, fd: int, kind: Kind, listed: pathlib.Path) -> None:
    """What bpf_map does with a map, from the file on."""
    info = map_info(lib, fd)
    how = typed(Layouts(loaded_btf(lib, info.btf_id)), info.shape, info.key_type, info.value_type)
    options = {**OPTIONS, "src": str(listed), "format": kind.format}
    filling = filling_of(lib, kind.map, info.shape, how, options, lambda path: pathlib.Path(path).read_bytes())
    elements = Elements(lib, fd, info.shape)
    seen = writing.seen_entries(elements, info.shape, None, how.key.canonical)
    made = compare([filling], {kind.map: info.shape}, {kind.map: seen})[kind.map].made
    if made:
        writing.write(kind.map, elements, info.shape, made)


def _module(pin: str, kind: Kind, listed: pathlib.Path, changes: int) -> t.Tuple[float, float]:
    """Seconds and MiB of a run that writes so many entries, and no others."""
    options = {"pinned": pin, "src": str(listed), "format": kind.format, "exclusive": True, "allow_unsafe_paths": True}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "ansible_collections.ebpf.fleet.plugins.modules.bpf_map"],
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    process.stdin.close()
    result = json.loads(process.stdout.read())
    _pid, _status, used = os.wait4(process.pid, 0)
    process.returncode = 0
    assert not result.get("failed") and result["removed"] == result["added"], result
    assert changes == result["updated"] + result["added"], result
    return time.perf_counter() - start, used.ru_maxrss / 1024


def _words(kind: Kind, pin: str, number: int) -> t.List[str]:
    key, value = kind.bytes(number)
    return ["map", "update", "pinned", pin, "key", *map(str, key), "value", *map(str, value)]


def _batch(folder: pathlib.Path, kind: Kind, pin: str, size: int) -> pathlib.Path:
    file = folder / "batch"
    with file.open("w") as lines:
        lines.writelines(f"{' '.join(_words(kind, pin, number))}\n" for number in range(size))
    return file


def _run(*words: t.Any) -> None:
    subprocess.run(["bpftool", *words], check=True, stdout=subprocess.DEVNULL)


def _bpftool_processes(kind: Kind, pin: str, count: int) -> None:
    for number in range(count):
        _run(*_words(kind, pin, number))

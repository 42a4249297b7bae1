# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs print with bpf_printk, read from a tracefs instance of our own.

No other reader of trace_pipe loses a line. packet_count prints only while its switch is on (struct trace in
files/bpf/packet_count.bpf.c), and starts each line with the tag in the switch; the instance filters by this tag. The
lines of other programs cannot be distinguished, so all lines that the host prints are read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
import time
import typing as t

from ..background import fork_into_background
from ..deploy.observe import Seen
from ..errors import FleetError
from ..kernel.mounts import mount
from ..libbpf import info, maps
from ..libbpf.layouts import Layout, Layouts
from ..libbpf.library import Fd, Libbpf
from ..libbpf.loaded_btf import loaded_btf
from ..state import locks
from ..state.locks import lock, of_instance, of_instances, of_trace

TRACEFS = "/sys/kernel/tracing"
INSTANCE = "ebpf_fleet."
SWITCH_PINS = ("%2Edata", "%2Edata%2Etrace")  # the second: objects of the release before
BUFFER_KB = 512  # for each CPU
POLL_SECONDS = 0.02

_SWITCH = struct.Struct("=QII")  # struct trace
_MEMBERS = [("until", 0), ("every", 8), ("tag", 12)]
_LINE = re.compile(
    r"\s*(?P<task>.+)-(?P<pid>\d+)\s+(?:\(\s*[-\d]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:\S+\s+)?(?P<timestamp>[\d.]+):"
    r" bpf_trace_printk: (?P<message>.*)"
)
_LOST = re.compile(r"CPU:\d+ \[LOST (\d+) EVENTS\]")


class Traced(t.NamedTuple):
    """`lines` as parsed; `lost`: how many the ring buffer could not hold; `seconds`: how long it read."""

    lines: t.List[t.Dict[str, t.Any]]
    lost: int
    seconds: float


def parse(text: str, tag: str = "") -> t.Tuple[t.List[t.Dict[str, t.Any]], int]:
    """Lines of trace_pipe, and how many it reports as lost. timestamp is in seconds since boot."""
    lines: t.List[t.Dict[str, t.Any]] = []
    lost = 0
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            message = found["message"]
            if tag and f" {tag} " in message:
                message = message.split(f" {tag} ", 1)[1]
            lines.append(
                {
                    "task": found["task"],
                    "pid": int(found["pid"]),
                    "cpu": int(found["cpu"]),
                    "timestamp": float(found["timestamp"]),
                    "message": message,
                }
            )
        elif _LOST.search(line):
            lost += int(t.cast("re.Match[str]", _LOST.search(line)).group(1))
        elif lines and line.strip():
            lines[-1]["message"] += "\n" + line
    return lines, lost


def trace(lib: Libbpf, seen: t.Sequence[Seen], seconds: float, limit: int, every: int) -> Traced:
    """Read for `seconds`, or until there are `limit` lines. Raises FleetError if this is not possible.

    Even if this process is killed, a guard process turns the switches off and cleans up.
    """
    attached = [each for each in seen if each.attached]
    if not attached:
        return Traced([], 0, 0.0)
    with contextlib.ExitStack() as held:
        _require_event()
        held.enter_context(lock(of_trace(os.path.dirname(attached[0].place.folder))))  # there is only one switch
        having = [(each, pin) for each in attached for pin in SWITCH_PINS if pin in each.maps]
        opened = [held.enter_context(lib.get(each.place.map(pin))) for each, pin in having]
        switches = [fd for (each, _pin), fd in zip(having, opened) if _is_switch(lib, fd, each)]
        tag = f"{int.from_bytes(os.urandom(4), 'little') | 1 << 31:x}"  # eight digits, with %x as well as with %08x
        instance = f"{TRACEFS}/instances/{INSTANCE}{tag}"
        with _Guard(lib, instance, switches):
            _write(f"{instance}/buffer_size_kb", str(BUFFER_KB))
            if len(switches) == len(attached):
                _write(f"{instance}/events/bpf_trace/bpf_trace_printk/filter", f'bpf_string ~ "* {tag} *"')
            _write(f"{instance}/events/bpf_trace/bpf_trace_printk/enable", "1")
            start = time.monotonic()
            until = time.monotonic_ns() + int((seconds + 1) * 1e9)
            for switch in switches:
                maps.update(lib, switch, b"\0" * 4, _SWITCH.pack(until, every, int(tag, 16)))
            text = _read(f"{instance}/trace_pipe", start + seconds, limit)
            duration = time.monotonic() - start
            lines, lost = parse(text, tag)
            return Traced(lines[:limit], lost + _overrun(instance), round(duration, 3))


def _is_switch(lib: Libbpf, fd: int, seen: Seen) -> bool:
    """Whether the program that runs has its switch in this map: nothing is written to any other one."""
    found = info.map_info(lib, fd)
    if found.id not in seen.held or not found.btf_id:
        return False
    try:
        return is_switch(Layouts(loaded_btf(lib, found.btf_id)).layout(found.value_type))
    except ValueError:  # kinds of types that are newer than this collection
        return False


def is_switch(section: t.Optional[Layout]) -> bool:
    """Whether the switch is all that is in a section of global data, by the names of its members."""
    if not section or section.kind != "datasec" or [each.name for each in section.members] != ["trace"]:
        return False
    return [(each.name, each.offset // 8) for each in section.members[0].layout.members] == _MEMBERS


def _read(path: str, deadline: float, limit: int) -> str:
    """Text of trace_pipe until the deadline, or until there are at least `limit` lines."""
    text = b""
    with Fd(os.open(path, os.O_RDONLY | os.O_NONBLOCK)) as pipe:
        while time.monotonic() < deadline and text.count(b"\n") < limit:
            try:
                text += os.read(pipe, 65536)
            except BlockingIOError:
                time.sleep(max(0.0, min(POLL_SECONDS, deadline - time.monotonic())))
        with contextlib.suppress(BlockingIOError):
            while text.count(b"\n") < limit:
                more = os.read(pipe, 65536)
                if not more:
                    break
                text += more
    return text.decode(errors="replace")


def _overrun(instance: str) -> int:
    """Events that the ring buffers of all CPUs dropped."""
    lost = 0
    for cpu in os.listdir(f"{instance}/per_cpu"):
        with open(f"{instance}/per_cpu/{cpu}/stats", encoding="ascii") as stats:
            for line in stats:
                key, _colon, value = line.partition(":")
                if key in ("overrun", "dropped events"):
                    lost += int(value)
    return lost


class _Guard:
    """A tracefs instance, and a child that removes it and clears the switches when the parent is done or dead."""

    def __init__(self, lib: Libbpf, instance: str, switches: t.Sequence[int]) -> None:
        self.lib = lib
        self.instance = instance
        self.switches = switches
        self._hold = contextlib.ExitStack()

    def __enter__(self) -> None:
        done, self._alive = os.pipe()
        self._child = fork_into_background(lambda: self._guard(done), keep=(done, *locks.held()))
        os.close(done)
        try:
            with lock(of_instances(f"{TRACEFS}/instances")):
                _sweep()
                os.mkdir(self.instance)
                self._hold.enter_context(lock(of_instance(self.instance)))
        except OSError as error:
            self.__exit__()
            raise FleetError(
                f"cannot create the tracefs instance {self.instance}: {error.strerror};"
                f" the kernel needs CONFIG_TRACING, and a container needs access to {TRACEFS}"
            ) from error

    def __exit__(self, *exception: t.Any) -> None:
        self._hold.close()
        os.close(self._alive)
        status = os.waitpid(self._child, 0)[1]
        if status:
            raise FleetError(f"cannot remove the tracefs instance {self.instance}: is a different process reading it?")

    def _guard(self, done: int) -> None:
        os.read(done, 1)
        for switch in self.switches:
            maps.update(self.lib, switch, b"\0" * 4, bytes(_SWITCH.size))
        if not _remove(self.instance):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), self.instance)
        locks.let_go()


def _remove(instance: str, seconds: float = 2.0) -> bool:
    """Remove an instance as soon as no process reads it any more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(instance)
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)


def _sweep() -> None:
    """Remove instances of runs that were killed together with their guard: no process holds their lock."""
    for name in os.listdir(f"{TRACEFS}/instances"):
        if name.startswith(INSTANCE):
            path = f"{TRACEFS}/instances/{name}"
            with contextlib.suppress(FleetError, FileNotFoundError), lock(of_instance(path), 0):
                _remove(path, 0.0)


def _require_event() -> None:
    from ..kernel.remedies import LOCKDOWN, lockdown  # here: a target compiles what it imports

    if lockdown() == "confidentiality":
        raise FleetError(
            f"the kernel is locked down for confidentiality ({LOCKDOWN}), which hides tracefs even from root;"
            f" trace_seconds cannot be used on this host unless it is booted with lockdown=integrity"
        )
    if not os.path.isdir(f"{TRACEFS}/instances"):
        if not os.path.isdir(TRACEFS):
            raise FleetError("this kernel has no tracefs (CONFIG_TRACING); trace_seconds cannot be used on this host")
        mount("tracefs", TRACEFS)  # wherever it is mounted, it is the same one
    if not os.path.isdir(f"{TRACEFS}/events/bpf_trace"):
        raise FleetError(
            "this kernel has no event bpf_trace/bpf_trace_printk (added in 5.9);"
            " trace_seconds cannot be used on this host"
        )


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise FleetError(f"cannot write {text!r} to {path}: {error.strerror}") from error

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a dispatcher, and what is put into it, in the kernel. Nothing here changes an interface."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import errno
import typing as t

from ..libbpf import extensions, info
from ..libbpf.library import BpfError, Libbpf
from .code import (
    MAIN,
    SKIPPED,
    Trial,
    function_info,
    functions,
    instructions,
    returning,
    slot_function,
    type_information,
)
from .config import Config, Slot, pack

Hold = t.Callable[[t.ContextManager[int]], int]  # keeps a file descriptor open until the end


class Made(t.NamedTuple):
    """A dispatcher in the kernel: its fd and id, and the numbers of its functions in its BTF."""

    fd: int
    id: int
    functions: t.Mapping[str, int]


def make(lib: Libbpf, hold: Hold, config: Config, trials: t.Sequence[Trial] = ()) -> Made:
    """Load a dispatcher. Raises BpfError."""
    names = functions(len(config.slots), len(trials))
    blob, ids = type_information(names)
    code, starts = instructions(config.slots, trials)
    with extensions.load_btf(lib, blob) as btf, extensions.frozen_map(
        lib, f"{MAIN[:8]}.rodata", pack(config)
    ) as rodata:
        fd = hold(extensions.load_program(lib, MAIN, code, btf, function_info(starts, ids), config.frags))
        extensions.bind_map(lib, fd, rodata)
    return Made(fd, info.program_info(lib, fd).id, ids)


def template(lib: Libbpf, hold: Hold, frags: bool) -> Made:
    """A dispatcher to load a program for: the kernel wants one, and then attaches the program to others alike."""
    return make(lib, hold, Config(2, (Slot(),) * 2, frags))


def skipping(lib: Libbpf, hold: Hold, target: Made, function: str, action: int = SKIPPED) -> int:
    """The fd of a program that has a Trial of the kind SKIP skip its slot, as it only returns that action."""
    return _extension(lib, hold, target, function, "ebpf_fleet_skip", action)


def _extension(lib: Libbpf, hold: Hold, target: Made, function: str, name: str, action: int) -> int:
    blob, ids = type_information([name])
    code = b"".join(returning(action))
    with extensions.load_btf(lib, blob) as btf:
        about = function_info({name: 0}, ids)
        where = target.fd, target.functions[function]
        return hold(extensions.load_extension(lib, name, code, btf, about, where))


def refused(lib: Libbpf) -> t.Optional[BpfError]:
    """Why this kernel does not do what a dispatcher needs; None if it does. Asks with one that is on no interface."""
    with contextlib.ExitStack() as held:
        hold = held.enter_context
        try:
            made = template(lib, hold, frags=False)
            program = _extension(lib, hold, made, slot_function(0), "ebpf_fleet_ask", SKIPPED)
            # In another one than it was loaded for, since 5.10; with a trampoline, which not every architecture has.
            other = template(lib, hold, frags=False)
            hold(extensions.attach(lib, program, other.fd, other.functions[slot_function(1)]))
        except BpfError as error:
            return error
    return None


def words(error: BpfError) -> str:
    """Why a program was not loaded for a dispatcher, and what to do."""
    if error.errno == errno.EPERM:
        return (
            "this kernel refuses programs that take the place of a function of another one (type ext), which a"
            " dispatcher needs (Operation not permitted); set dispatcher: never to have the interface alone"
        )
    said = error.log.splitlines()
    return f"{error.strerror}{f': {said[-1]}' if said else ''}"

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cost.py: instructions that a packet costs in a dispatcher, ours and libxdp's. Runs in a guest with qemu's -icount.

There a virtual nanosecond is an instruction, so BPF_PROG_TEST_RUN's duration is their number. The figures are above an
empty program. Attaching a program costs nothing more than the call that it takes the place of.
"""

from __future__ import annotations

import contextlib
import glob
import pathlib
import typing as t

import checks
import sharing
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import extensions, probe
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import Object, open_object
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing import code, config, made

OBJECT = pathlib.Path(__file__).parent / "objects/packet_count.bpf.o"
PACKET, RUNS, TRIES = bytes(64), 20_000, 5
MOST_ALONE, MOST_A_SLOT = 2, 18  # above the program itself


class Bench:
    def __init__(self, held: contextlib.ExitStack) -> None:
        self._lib, self._held = Libbpf(), held

    def run(self, program: int) -> int:
        """Instructions of a run: the least of several, as an interrupt is counted too."""
        every: t.List[int] = []
        for _try in range(TRIES):
            options = probe.RunOptions(data_in=PACKET, data_size_in=len(PACKET), repeat=RUNS)
            probe.run(self._lib, program, options)
            every.append(options.duration)
        return min(every)

    def empty(self) -> int:
        program = self._held.enter_context(probe.ask(self._lib, b"".join(code.returning(2))))
        return self.run(program)

    def _counter(self, target: int = 0) -> int:
        opened: Object = self._held.enter_context(open_object(self._lib, OBJECT.read_bytes(), "packet_count"))
        if target:
            opened.take_the_place_of("packet_count", target, "prog0")
        opened.load({"packet_count"}, {})
        return opened.program_fd("packet_count")

    def direct(self) -> int:
        return self.run(self._counter())

    def ours(self, slots: int, trial: bool = False) -> int:
        """With so many slots; 0: one, whose program takes the place of the dispatcher."""
        hold = self._held.enter_context
        template = made.template(self._lib, hold, False)
        trials = [code.Trial(code.REPLACE, 0)] if trial else []
        new = made.make(self._lib, hold, config.Config(2, (config.Slot(),) * max(1, slots)), trials)
        function = "try0" if trial else code.slot_function(0) if slots else code.MAIN
        hold(extensions.attach(self._lib, self._counter(template.fd), new.fd, new.functions[function]))
        for number in range(1, slots):
            passing = made.skipping(self._lib, hold, template, "prog0", 2)
            hold(extensions.attach(self._lib, passing, new.fd, new.functions[code.slot_function(number)]))
        return self.run(new.fd)

    def libxdp(self, slots: int) -> t.Optional[int]:
        """Its own dispatcher, in which empty slots return what lets the next one run, as ours do."""
        paths = glob.glob("/usr/lib/*/bpf/xdp-dispatcher.o")
        if not paths:
            return None
        hold = self._held.enter_context
        opened = hold(open_object(self._lib, pathlib.Path(paths[0]).read_bytes(), "xdp-dispatcher"))
        (rodata,) = opened.maps
        version = 3 if rodata.shape.value_size > 124 else 2
        opened.begin_with(rodata.name, config.pack(config.Config(version, (config.Slot(),) * slots)))
        opened.load({"xdp_dispatcher"}, {})
        target = opened.program_fd("xdp_dispatcher")
        ids = opened_functions(self._lib, target)
        template = made.template(self._lib, hold, False)
        hold(extensions.attach(self._lib, self._counter(template.fd), target, ids["prog0"]))
        for number in range(1, slots):
            passing = made.skipping(self._lib, hold, template, "prog0", 2)
            hold(extensions.attach(self._lib, passing, target, ids[f"prog{number}"]))
        return self.run(target)


def opened_functions(lib: Libbpf, program: int) -> t.Dict[str, int]:
    """The numbers of the functions in a program's BTF."""
    from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import info
    from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.btf import Btf
    from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.loaded_btf import loaded_btf

    found = Btf(loaded_btf(lib, info.program_info(lib, program).btf_id))
    return {each.name: number for number, each in enumerate(found.types) if each.kind == "func"}


def instructions() -> str:
    with contextlib.ExitStack() as held:
        bench = Bench(held)
        empty = bench.empty()
        found: t.Dict[str, t.Optional[int]] = {"direct": bench.direct(), "alone": bench.ours(0)}
        found.update({f"{slots} slots": bench.ours(slots) for slots in (1, 2, 3)})
        found["1 slot, provisional"] = bench.ours(1, trial=True)
        found.update({f"libxdp's, {slots}": bench.libxdp(slots) for slots in (1, 2, 3)})
    above = {name: None if value is None else value - empty for name, value in found.items()}
    words = ", ".join(f"{name} {value}" for name, value in above.items())
    figures = {name: value for name, value in above.items() if value is not None}
    checks.expect(figures["alone"] - figures["direct"] <= MOST_ALONE, True, f"alone: {words}")
    for slots in (1, 2, 3):
        most = figures["direct"] + MOST_A_SLOT * slots
        checks.expect(figures[f"{slots} slots"] <= most, True, f"{slots} slots, at most {most}: {words}")
        if f"libxdp's, {slots}" in figures:
            checks.expect(figures[f"libxdp's, {slots}"] > figures[f"{slots} slots"], True, f"libxdp's: {words}")
    return words


ROWS: t.Dict[str, t.Callable[[], str]] = {sharing.COST: instructions}

if __name__ == "__main__":
    checks.begin()
    checks.run_each(ROWS)
    checks.say(end=True)

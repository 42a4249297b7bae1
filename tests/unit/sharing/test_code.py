# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of a dispatcher, run by a small interpreter, does what a model of libxdp's protocol says."""

from __future__ import annotations

import random
import struct
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.btf import read_btf
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.code import (
    INSERT,
    MAIN,
    REPLACE,
    SKIP,
    SKIPPED,
    Trial,
    entry_of,
    function_info,
    functions,
    instructions,
    type_information,
)
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.config import ACTIONS, EMPTY, SLOTS, Slot

PASS = ACTIONS.index("pass")
Programs = t.Mapping[str, int]  # what is attached, by its function: the action that it returns


def run(slots: t.Sequence[Slot], trials: t.Sequence[Trial], programs: Programs) -> t.Tuple[int, t.List[str]]:
    """What the code returns, and which attached programs ran."""
    code, starts = instructions(slots, trials)
    every = [struct.unpack_from("<BBhi", code, at) for at in range(0, len(code), 8)]
    names = {start: name for name, start in starts.items()}
    ran: t.List[str] = []

    def call(at: int) -> int:
        registers = dict.fromkeys(range(11), 0)
        while True:
            operation, both, offset, value = every[at]
            to, source = both & 15, both >> 4
            at += 1
            if operation == 0x95:
                return registers[0]
            if operation == 0x85 and source == 1:
                name = names[at + value]
                if name in programs:
                    ran.append(name)
                registers[0] = programs[name] if name in programs else call(at + value)
            elif operation == 0x85:
                assert value == 65, "only bpf_xdp_adjust_tail is called"
            elif operation == 0xBF:
                registers[to] = registers[source]
            elif operation in (0xB7, 0xB4):
                registers[to] = value % (1 << 32)
            elif operation == 0x7C:
                registers[to] = registers[to] >> registers[source] % 32
            elif operation == 0x54:
                registers[to] &= value
            elif operation == 0x05:
                at += offset
            elif operation in (0x15, 0x55):
                at += offset if (registers[to] == value) is (operation == 0x15) else 0
            else:
                raise AssertionError(f"operation {operation:#x}")

    return call(starts[MAIN]), ran


def model(slots: t.Sequence[Slot], trials: t.Sequence[Trial], programs: Programs) -> t.Tuple[int, t.List[str]]:
    """The same, as the protocol has it: one after the other, until an action that does not go on."""
    chain: t.List[t.Tuple[str, Slot]] = []
    ran: t.List[str] = []
    for at in range(len(slots) + 1):
        skipped = False
        for number, trial in enumerate(trials):
            name = f"try{number}"
            if trial.at != at or name not in programs:
                continue
            chain.append((name, trial.slot if trial.kind != SKIP else Slot(0, ACTIONS)))
            skipped = skipped or trial.kind != INSERT
        if at < len(slots) and not skipped:
            chain.append((f"prog{at}", slots[at]))
    for name, slot in chain:
        if name in programs:
            ran.append(name)
            if programs[name] not in [EMPTY, SKIPPED, *map(ACTIONS.index, slot.actions)]:
                return programs[name], ran
    return PASS, ran


def some_slot(chance: random.Random) -> Slot:
    return Slot(0, tuple(each for each in ACTIONS if chance.random() < 0.4))


@pytest.mark.parametrize("seed", range(300))
def test_the_code_does_what_the_model_says(seed: int) -> None:
    chance = random.Random(seed)
    slots = [some_slot(chance) for _each in range(chance.randint(0 if seed % 7 == 0 else 1, SLOTS))]
    trials = []
    for _each in range(chance.choice((0, 1, 1))):
        kind = chance.choice((INSERT, REPLACE, SKIP)) if slots else INSERT
        at = chance.randint(0, len(slots) if kind == INSERT else len(slots) - 1)
        trials.append(Trial(kind, at, some_slot(chance)))
    for _time in range(20):
        programs = {}
        for name in functions(len(slots), len(trials))[1:]:
            if chance.random() < 0.8:
                programs[name] = chance.randrange(len(ACTIONS))
        for number, trial in enumerate(trials):
            if trial.kind == SKIP and f"try{number}" in programs:
                programs[f"try{number}"] = SKIPPED
        assert run(slots, trials, programs) == model(slots, trials, programs)


def test_without_its_program_a_trial_changes_nothing() -> None:
    slots = [Slot(), Slot(actions=("drop",))]
    for kind in (INSERT, REPLACE, SKIP):
        for at in (0, 1):
            for one in range(len(ACTIONS)):
                programs = {"prog0": one, "prog1": 1}
                assert run(slots, [Trial(kind, at)], programs) == run(slots, [], programs)


def test_an_upgrade_on_trial_runs_in_the_place_of_the_old_one() -> None:
    programs = {"prog0": PASS, "prog1": PASS, "try0": PASS}
    assert run([Slot(), Slot()], [Trial(REPLACE, 0)], programs) == (PASS, ["try0", "prog1"])


def test_where_a_program_is_attached() -> None:
    assert entry_of(0, 1) == MAIN
    assert entry_of(0, 2) == "prog0"


def test_a_dispatcher_of_ours_is_short() -> None:
    """The figures of docs/coexistence.md depend on it: 5 instructions for a slot that goes on after pass."""
    sizes = [len(instructions([Slot()] * count)[0]) // 8 - 4 * count for count in (1, 2, 3)]
    assert sizes == [7, 11, 15]


def test_the_type_information_can_be_read() -> None:
    names = functions(2, 1)
    blob, ids = type_information(names)
    found = read_btf(blob)
    assert found and [found.function(ids[name]) for name in names] == names
    _code, starts = instructions([Slot(), Slot()], [Trial(INSERT, 1)])
    info = function_info(starts, ids)
    assert [struct.unpack_from("=II", info, at)[1] for at in range(0, len(info), 8)] == [ids[name] for name in names]

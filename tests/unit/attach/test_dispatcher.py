# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dispatcher is to be, and what of that is on trial, without a kernel."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import dispatcher, words
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Hook
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import ProgramInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing import made, version
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.code import INSERT, REPLACE, SKIP, Trial
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.config import SLOTS, Slot
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.dispatcher import Component, Dispatcher
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

PLACE = Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0")
Programs = t.List[t.Tuple[int, Component]]


def component(number: int, priority: int) -> Component:
    return Component(Slot(priority), ProgramInfo(number, "ext", f"p{number}", "aa", number, ()))


def programs(*priorities: int) -> Programs:
    """Those that are there: 100 is the id of the first, whose fd is 0."""
    return [(at, component(100 + at, priority)) for at, priority in enumerate(priorities)]


def planned(present: Programs, ours: int, new: t.Optional[Component]) -> t.Tuple[Programs, t.List[t.Tuple[Trial, int]]]:
    change = dispatcher._Change(PLACE, 2, ours, (999, new.slot) if new else None)
    wanted = [each for each in present if each[1].program.id != ours] + ([(999, new)] if new else [])
    wanted.sort(key=lambda each: each[1].order)
    return wanted, dispatcher._trials(change, present, wanted)


@pytest.mark.parametrize(
    ("priority", "at"),
    [(5, 0), (50, 1), (95, 2)],
)
def test_a_new_program_on_trial_stands_where_it_will(priority: int, at: int) -> None:
    new = component(200, priority)
    assert planned(programs(10, 90), 0, new)[1] == [(Trial(INSERT, at, new.slot), 999)]


def test_an_upgrade_and_a_removal_on_trial() -> None:
    present = programs(10, 50, 90)
    new = component(200, 50)
    assert planned(present, 101, new)[1] == [(Trial(REPLACE, 1, new.slot), 999)]
    assert planned(present, 101, None)[1] == [(Trial(SKIP, 1), -1)]
    assert planned(present, 77, None)[1] == [], "it is not there any more"


def ran(present: Programs, trials: t.Sequence[t.Tuple[Trial, int]]) -> t.List[int]:
    """The fds of the programs that run, in their order, as the model in test_code.py has it."""
    found = []
    for at in range(len(present) + 1):
        skipped = False
        for trial, fd in trials:
            if trial.at == at:
                found += [fd] if trial.kind != SKIP else []
                skipped = skipped or trial.kind != INSERT
        if at < len(present) and not skipped:
            found.append(present[at][0])
    return found


@pytest.mark.parametrize("seed", range(200))
def test_what_is_on_trial_runs_as_what_is_wanted(seed: int) -> None:
    """Also where it moves."""
    chance = random.Random(seed)
    present = programs(*sorted(chance.sample(range(100), chance.randint(0, SLOTS - 1))))
    ours = chance.choice([0, *(each.program.id for _fd, each in present)])
    new = component(
        200, chance.choice([each for each in range(100) if each not in [p.slot.priority for _f, p in present]])
    )
    wanted, trials = planned(present, ours, new)
    assert ran(present, trials) == [fd for fd, _each in wanted]


def test_a_sentence_names_what_is_in_it() -> None:
    itself = ProgramInfo(90, "xdp", "xdp_dispatcher", "cc", 1, (6,))
    hook = Hook("native", itself, dispatcher=Dispatcher(90, 2, components=(component(100, 5), component(101, 60))))
    assert str(hook) == (
        "XDP program 90 'xdp_dispatcher' (tag cc), attached by netlink, native, a libxdp dispatcher with"
        " 100 'p100' (tag aa, priority 5) and 101 'p101' (tag aa, priority 60)"
    )


def test_a_dispatcher_is_what_is_in_it() -> None:
    """Each change of anybody's makes a new one, so its own id says nothing."""
    first, second = (ProgramInfo(number, "xdp", "xdp_dispatcher", "cc", 1, (6,)) for number in (90, 91))
    one, two = (
        {"eth0": [Hook("native", each, dispatcher=Dispatcher(each.id, 2, components=(component(100, 5),))).data()]}
        for each in (first, second)
    )
    other = {"eth0": [Hook("native", second, dispatcher=Dispatcher(91, 2, components=(component(101, 5),))).data()]}
    assert words.alike(one, two) and not words.alike(one, other)


def test_the_version_is_that_of_libxdp(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, wanted in ((None, 2), (1, 2), (2, 2), (3, 3)):
        monkeypatch.setattr(version, "of_libxdp", lambda there=there: there)
        assert version.of_this_host() == wanted


def test_why_a_kernel_refuses() -> None:
    assert "type ext" in made.words(BpfError(1, "bpf_prog_load")) and "dispatcher: never" in made.words(
        BpfError(1, "x")
    )
    assert made.words(BpfError(22, "bpf_prog_load", "a\nthe last line")) == "Invalid argument: the last line"

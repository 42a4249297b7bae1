# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of plans, without a kernel: which interface comes first, and what is detached for a moment."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Attachment, Hook
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.stacked import Upper, stack_of
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.order import Around, allowed, arrange
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.planned import Plan
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import (
    Attach,
    Detach,
    Evict,
    Move,
    Note,
    PutBack,
    Step,
    Swap,
    Unpin,
)
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.stacking import Device
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import ProgramInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

# eth0 < eth0.10 < vx0; eth0 < eth0.20; port1 and port2 < bond0 < bond0.10
NAMES = ["", "eth0", "eth0.10", "eth0.20", "vx0", "port1", "port2", "bond0", "bond0.10"]
BELOW = {"eth0.10": "eth0", "eth0.20": "eth0", "vx0": "eth0.10", "bond0.10": "bond0"}
PROGRAM = ProgramInfo(41, "xdp", "filter", "5bb1", 0, ())
ATTACH: t.List[Step] = [Attach("auto"), Note(None)]
CHANGE: t.List[Step] = [Attach("generic"), Note(None)]  # after the Detach that plan() adds
LIFT = "detach counter for a moment, as the kernel attaches to {} only without it"
BACK = "attach counter again by link, mode generic"


def index(name: str) -> int:
    return NAMES.index(name)


def seen(name: str, mode: t.Optional[str] = None, program: str = "counter") -> Seen:
    ours = Attachment("link", 3, 41, index(name), mode) if mode else None
    place = Place("/sys/fs/bpf/ebpf_fleet", program, name)
    return Seen(place, index(name), 1500, ours, None, None, {}, {}, (), None, ())


def plan(name: str, steps: t.Sequence[Step], mode: t.Optional[str] = None) -> Plan:
    found = seen(name, mode)
    if mode and steps is CHANGE and found.ours:
        steps = [Detach(found.ours, again=True), *steps]
    return Plan(found, tuple(steps), {}, {})


def around(ours: t.Mapping[str, str], foreign: t.Sequence[str] = ()) -> Around:
    """`ours`: the modes of our programs, by interface."""

    def device(name: str) -> Device:
        mode = ours.get(name) or ("native" if name in foreign else "")
        below = (index(BELOW[name]),) if name in BELOW else ()
        master = index("bond0") if name in ("port1", "port2") else 0
        return Device(index(name), name, "bond" if name == "bond0" else "", below, master, {mode: 41} if mode else {})

    uppers = {}
    for name in (*ours, *foreign):
        mode = ours.get(name, "native")
        mine = seen(name, mode) if name in ours else None
        hooks = (Hook(mode, PROGRAM),)
        uppers[index(name)] = Upper(index(name), name, hooks, mine and mine.place, mine and mine.ours)
    found = {index(name): seen(name, mode) for name, mode in ours.items()}
    return Around(stack_of(device(name) for name in NAMES[1:]), uppers, found)


def groups(plans: t.Sequence[Plan], where: Around) -> t.List[t.List[str]]:
    return [
        [f"{part.seen.interface}: {step}" for part in group for step in part.steps if not isinstance(step, Note)]
        for group in arrange(plans, where).groups
    ]


def refusals(plans: t.Sequence[Plan], where: Around) -> t.Dict[str, str]:
    errors: t.Dict[str, str] = {}
    left = allowed(plans, where, errors)
    assert {each.seen.interface for each in left} == {each.seen.interface for each in plans} - errors.keys()
    return errors


def test_new_ones_are_sorted_and_independent() -> None:
    names = ["vx0", "eth0.20", "eth0", "eth0.10"]
    for order in itertools.permutations(names):
        done = [group[0].split(":")[0] for group in groups([plan(name, ATTACH) for name in order], around({}))]
        assert len(done) == 4 and done[0] == "eth0" and done.index("eth0.10") < done.index("vx0")
        # The plans, and so the results, keep the user's order.
        assert [each.seen.interface for each in arrange([plan(n, ATTACH) for n in order], around({})).plans] == [*order]


def test_what_runs_above_is_detached_for_a_moment() -> None:
    order = arrange([plan("eth0", ATTACH)], around({"eth0.10": "generic", "bond0.10": "generic"}))
    assert [[str(step) for step in part.steps] for part in order.groups[0]] == [
        [LIFT.format("eth0")],
        ["attach by link, mode auto", "remove the record"],
        [BACK],
    ]
    assert [each.seen.interface for each in order.plans] == ["eth0", "eth0.10"]  # so that the diff tells it
    assert len(order.groups) == 1


def test_nothing_is_detached_without_need() -> None:
    where = around({"eth0": "native", "eth0.10": "generic", "vx0": "generic"})
    assert groups([plan("eth0", [Swap()], "native"), plan("eth0.10", [Swap()], "generic")], where) == [
        ["eth0: swap the program in the link"],
        ["eth0.10: swap the program in the link"],
    ]
    # Only what is directly above is in the way.
    assert groups([plan("eth0", ATTACH)], around({"vx0": "generic"})) == [["eth0: attach by link, mode auto"]]


def test_what_is_attached_again_needs_the_same_above_it() -> None:
    where = around({"eth0.10": "generic", "vx0": "generic"})
    assert groups([plan("eth0", ATTACH)], where) == [
        [
            f"vx0: {LIFT.format('eth0.10')}",
            f"eth0.10: {LIFT.format('eth0')}",
            "eth0: attach by link, mode auto",
            f"eth0.10: {BACK}",
            f"vx0: {BACK}",
        ]
    ]


def test_once_for_several_below() -> None:
    where = around({"bond0": "generic"})
    assert groups([plan("port1", ATTACH), plan("port2", ATTACH), plan("eth0", ATTACH)], where) == [
        [
            f"bond0: {LIFT.format('port1 and port2')}",
            "port1: attach by link, mode auto",
            "port2: attach by link, mode auto",
            f"bond0: {BACK}",
        ],
        ["eth0: attach by link, mode auto"],
    ]


def test_a_plan_that_detaches_by_itself_is_interrupted() -> None:
    where = around({"eth0": "native", "eth0.10": "native"})
    plans = [plan("eth0.10", CHANGE, "native"), plan("eth0", CHANGE, "native")]
    assert groups(plans, where) == [
        [
            "eth0.10: detach",
            "eth0: detach",
            "eth0: attach by link, mode generic",
            "eth0.10: attach by link, mode generic",
        ]
    ]
    (evicted,) = groups(
        [plan("eth0", ATTACH), plan("eth0.10", [Evict(Hook("native", PROGRAM)), *ATTACH])], around({}, ["eth0.10"])
    )
    assert [step.split(" XDP")[0] for step in evicted] == [
        "eth0.10: detach foreign",
        "eth0: attach by link, mode auto",
        "eth0.10: attach by link, mode auto",
    ]


def test_the_rest_of_a_plan_above_follows() -> None:
    where = around({"eth0.10": "generic"})
    (group,) = groups([plan("eth0.10", [Unpin("/x"), Swap()], "generic"), plan("eth0", ATTACH)], where)
    assert group[2:] == [f"eth0.10: {BACK}", "eth0.10: remove /x", "eth0.10: swap the program in the link"]


def test_pins_of_an_older_release_are_moved_first() -> None:
    moved = plan("eth0.10", [Move(Place("/sys/fs/bpf/old", "counter", "eth0.10")), Swap()], "generic")
    assert groups([plan("eth0", ATTACH), moved], around({"eth0.10": "generic"})) == [
        [
            "eth0.10: move the pins from /sys/fs/bpf/old/counter/eth0%2E10",
            f"eth0.10: {LIFT.format('eth0')}",
            "eth0: attach by link, mode auto",
            f"eth0.10: {BACK}",
            "eth0.10: swap the program in the link",
        ]
    ]


def test_nothing_fails_with_what_a_killed_run_left() -> None:
    """It gets a group of its own, although it stands on the same interface."""
    left = plan("eth0.20", [PutBack("counter", Attachment("link", 0, 41, index("eth0.20"), "generic"))])
    where = around({"eth0.10": "generic"})
    first, second = groups([plan("eth0", ATTACH), left], where)
    assert second == [f"eth0.20: {BACK}"] and len(first) == 3
    errors: t.Dict[str, str] = {}
    where = around({}, ["vx0"])
    left = plan("eth0.10", [PutBack("counter", Attachment("link", 0, 41, index("eth0.10"), "generic"))])
    assert [each.seen.interface for each in allowed([plan("eth0", ATTACH)], where, errors, [left])] == ["eth0"]
    assert not errors and not allowed([left], where, errors, [plan("eth0", ATTACH)]) and list(errors) == ["eth0.10"]


def test_a_foreign_program_above_is_refused_and_named() -> None:
    where = around({"eth0.10": "generic"}, ["vx0"])
    errors = refusals([plan("eth0", ATTACH), plan("eth0.20", ATTACH)], where)
    assert list(errors) == ["eth0"]
    assert errors["eth0"] == (
        "cannot attach counter to eth0: vx0, which is above it, runs XDP program 41 'filter' (tag 5bb1), attached by"
        " netlink, native, which this collection did not attach, and the kernel attaches a program only while no"
        " interface above has one; detach it there first (`ip link set dev vx0 xdp off`), and attach it again after"
        " this"
    )
    assert refusals([plan("eth0", [Swap()])], where) == {}
    evicting = plan("vx0", [Evict(Hook("native", PROGRAM)), *ATTACH])
    assert refusals([plan("eth0", ATTACH), evicting], where) == {}
    errors = {"vx0": "it failed before"}
    assert allowed([plan("eth0", ATTACH)], where, errors) == []
    assert errors["eth0"] == "cannot attach counter to eth0: vx0, which is above it, failed"


@pytest.mark.parametrize("lower", ["native", "auto"])
def test_a_bond_in_native_mode_has_its_members(lower: str) -> None:
    member = plan("port1", [Attach(lower)])
    assert (
        "it belongs to bond0, on which counter runs in native mode"
        in refusals([member], around({"bond0": "native"}))["port1"]
    )
    assert refusals([member], around({"bond0": "generic"})) == {}
    assert refusals([member, plan("bond0", CHANGE, "native")], around({"bond0": "native"})) == {}
    both = refusals([member, plan("bond0", [Attach("native")])], around({}))
    assert "would run on all its members, and port1 has, or would have, a program" in both["bond0"]
    assert refusals([plan("bond0", [Attach("native")])], around({"port2": "native"})).keys() == {"bond0"}
    assert refusals([plan("bond0", [Attach("auto")])], around({"port2": "native"})) == {}  # falls back to generic

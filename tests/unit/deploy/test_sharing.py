# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan where an interface is shared, without a kernel."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Attachment, Hook
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import plan as planning
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import sharing as deploy_sharing
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Wanted
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import MapInfo, ProgramInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import ObjectMap, ObjectProgram
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import run_config
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image, ObjectFacts
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.config import Slot
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing.dispatcher import Component, Dispatcher
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place
from ansible_collections.ebpf.fleet.plugins.module_utils.state.records import Record

PLACE = Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0")
COUNTERS = MapShape("percpu_array", 4, 16, 1, 0)
PROGRAM = ObjectProgram("packet_count", "xdp", 47, True, True)
OBJECT = ObjectFacts("/lib/packet_count.bpf.o", "new", (PROGRAM,), (ObjectMap("counters", COUNTERS, False),))
SHARED = {"priority": 5, "chain_call_actions": ["pass"]}
FILTER = Component(Slot(50), ProgramInfo(77, "ext", "xdp_filter", "5bb1", 9, ()))
MINE = Component(Slot(5), ProgramInfo(41, "ext", "packet_count", "aa", 8, (7,)))
ITSELF = ProgramInfo(90, "xdp", "xdp_dispatcher", "cc", 10, (6,))


def wanted(**options: t.Any) -> Wanted:
    given = {"state": "attached", "name": "packet_count", "object": OBJECT, "priority": 5, "actions": ("pass",)}
    return Wanted(**{**given, **options})


def hook(*components: Component, **changes: t.Any) -> Hook:
    dispatcher = Dispatcher(ITSELF.id, 2, components=components)._replace(**changes)
    return Hook("native", ITSELF, dispatcher=dispatcher)


def bare(**changes: t.Any) -> Seen:
    return Seen(PLACE, 2, 1500, None, None, None, {}, {}, (), None, ())._replace(**changes)


def shared(*others: Component, **changes: t.Any) -> Seen:
    """Ours runs in a dispatcher, first of all."""
    there = hook(MINE, *others)
    ours = Attachment("dispatcher", ITSELF.id, 41, 2, "native", slot=0, dispatcher=there.dispatcher)
    counters = MapInfo(7, "counters", COUNTERS)
    deployed = Deployed(OBJECT.path, "new", "packet_count", "auto", sharing=SHARED)
    return bare(
        ours=ours,
        pinned=MINE.program,
        running=MINE.program,
        held={7: counters},
        maps={"counters": counters},
        record=Record(deployed, 41),
        hooks=(there,),
    )._replace(**changes)


def linked() -> Seen:
    """Ours has the interface alone."""
    seen = shared()
    assert seen.record
    return seen._replace(
        ours=Attachment("link", 3, 41, 2, "native"),
        record=seen.record._replace(deployed=seen.record.deployed._replace(sharing={})),
    )


def steps(want: Wanted, seen: Seen) -> t.List[str]:
    return [str(step) for step in planning.plan(want, seen).steps]


PLACE_5 = "priority 5, the next program runs after pass"
JOIN = f"join the dispatcher beside 77 'xdp_filter' (tag 5bb1, priority 50): {PLACE_5}"


def test_auto_joins_what_is_there_and_else_is_alone() -> None:
    assert steps(wanted(), bare()) == ["load packet_count", "attach by link, mode auto", "write the record"]
    beside = bare(others=(hook(FILTER),))
    assert steps(wanted(), beside) == ["load packet_count for a dispatcher", JOIN, "write the record"]
    with pytest.raises(FleetError, match="libxdp dispatcher with 77 'xdp_filter'") as caught:
        planning.plan(wanted(dispatcher="never"), beside)
    assert str(caught.value).endswith(
        "; leave dispatcher: auto to join it, or set on_conflict: replace to take its place"
    )


def test_always_makes_one() -> None:
    made = planning.plan(wanted(dispatcher="always"), bare())
    assert [str(step) for step in made.steps][1] == f"attach by dispatcher, mode auto: {PLACE_5}"
    assert made.after["dispatcher"] == {"priority": 5, "chain_call_actions": ["pass"], "beside": []}
    assert made.after["pins"] == ["maps/counters", "program"], "libxdp's pins hold it"


def test_what_is_shared_stays_shared() -> None:
    for dispatcher in ("auto", "always"):
        assert steps(wanted(dispatcher=dispatcher), shared(FILTER)) == []
    newer = OBJECT._replace(checksum="newer")
    assert steps(wanted(object=newer), shared(FILTER)) == [
        "load packet_count for a dispatcher, keeping the maps counters",
        "swap the program in the dispatcher",
        "write the record",
    ]
    detached = shared()._replace(ours=None)
    assert steps(wanted(), detached) == [f"attach by dispatcher, mode auto: {PLACE_5}"]
    assert steps(wanted(), detached._replace(others=(hook(FILTER),))) == [JOIN]


def test_another_place_needs_no_other_program() -> None:
    assert steps(wanted(priority=60, actions=("drop", "pass")), shared(FILTER)) == [
        "move it in the dispatcher: priority 60, the next program runs after drop or pass",
        "write the record",
    ]


def test_removal() -> None:
    assert steps(wanted(state="detached"), shared(FILTER)) == ["take it out of the dispatcher"]
    assert steps(wanted(state="absent"), shared(FILTER))[0] == "take it out of the dispatcher"


def test_between_alone_and_shared() -> None:
    assert steps(wanted(), linked()) == []
    made = planning.plan(wanted(dispatcher="always"), linked())
    assert [str(step) for step in made.steps] == [
        "load packet_count for a dispatcher, keeping the maps counters",
        "detach",
        f"attach by dispatcher, mode auto: {PLACE_5}",
        "write the record",
    ]
    assert len(made.warnings) == 1 and "packets pass without it" in made.warnings[0]
    back = planning.plan(wanted(dispatcher="never"), shared())
    assert [str(step) for step in back.steps][:3] == [
        "load packet_count, keeping the maps counters",
        "take it out of the dispatcher",
        "attach by link, mode auto",
    ]
    with pytest.raises(FleetError, match="in a dispatcher with 77 'xdp_filter'"):
        planning.plan(wanted(dispatcher="never"), shared(FILTER))


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        ({"mode": "generic"}, {"others": (hook(FILTER),)}, "the dispatcher there runs in native mode"),
        ({"mode": "offload", "dispatcher": "always"}, {}, "run a single program: set dispatcher: never"),
        ({}, {"others": (hook(*[FILTER] * 10),)}, "has 10 programs, and 10 is the most"),
        ({}, {"others": (hook(FILTER, frags=True),), "mtu": 9000}, 'put it into section "xdp.frags"'),
        ({}, {"others": (hook(trouble="it is bpfman's"),)}, "which it cannot join: it is bpfman's"),
        (
            {"dispatcher": "always"},
            {"others": (Hook("native", MINE.program, (3,), owner="other"),)},
            "which this collection deployed as other, alone: .* set dispatcher: always for other first",
        ),
        (
            {
                "dispatcher": "always",
                "object": OBJECT._replace(maps=(ObjectMap("calls", MapShape("prog_array", 4, 4, 8, 0), False),)),
            },
            {},
            "has a map of programs for tail calls, calls",
        ),
    ],
)
def test_what_is_refused(options: t.Dict[str, t.Any], changes: t.Dict[str, t.Any], words: str) -> None:
    with pytest.raises(FleetError, match=words):
        planning.plan(wanted(**options), bare(**changes))


def test_ours_beside_several_foreign_programs_is_no_dispatcher_to_join() -> None:
    two = (hook(FILTER), Hook("generic", MINE.program))
    with pytest.raises(FleetError, match="it already runs"):
        planning.plan(wanted(), bare(others=two))


def test_an_object_without_type_information_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_config, "has_btf", lambda _image: False)
    with pytest.raises(FleetError, match=r"has no type information .* clang -g"):
        deploy_sharing.with_run_config(wanted(), Image(OBJECT, b"ELF"))

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan, without a kernel: steps from the wanted and the observed state."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Attachment, Hook
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import plan as planning
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import steps as planned_steps
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.contents import Contents
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.current import is_unchanged
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.declared import Filling, Setting
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.planned import Plan, describe
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Wanted
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Declared, Difference, Updated
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import typed
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import MapInfo, ProgramInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MMAPABLE, MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import ObjectMap, ObjectProgram
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import ObjectFacts
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.persistence import Persistence
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place, map_pin
from ansible_collections.ebpf.fleet.plugins.module_utils.state.records import Record

PLACE = Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0")
DEPLOYED = Deployed("/lib/packet_count.bpf.o", "new", "packet_count", "auto")
OURS = Attachment("link", 3, 41, 2, "native")
DEAD = OURS._replace(ifindex=0, mode=None)
COUNTERS = MapShape("percpu_array", 4, 16, 1, 0)
RODATA = MapShape("array", 4, 42, 1, 0x80)
PLAIN = ObjectProgram("packet_count", "xdp", 47, True, True)
TWIN = ObjectProgram("packet_count_frags", "xdp.frags", 46, True, False)


def an_object(checksum: str = "new", **changes: t.Any) -> ObjectFacts:
    facts = ObjectFacts(
        "/lib/packet_count.bpf.o",
        checksum,
        (PLAIN, TWIN),
        (ObjectMap("counters", COUNTERS, False), ObjectMap("packet_c.rodata", RODATA, True)),
    )
    return facts._replace(**changes)


def wanted(state: str = "attached", **options: t.Any) -> Wanted:
    return Wanted(**{"state": state, "name": "packet_count", "object": an_object(), **options})


def bare(**changes: t.Any) -> Seen:
    """An interface without a program, pins or records."""
    return Seen(
        place=PLACE,
        ifindex=2,
        mtu=1500,
        ours=None,
        pinned=None,
        running=None,
        held={},
        maps={},
        leftovers=(),
        record=None,
        others=(),
    )._replace(**changes)


def deployed(**changes: t.Any) -> Seen:
    """An interface on which the object's program runs."""
    program = ProgramInfo(41, "xdp", "packet_count", "5bb1", 0, (7, 8))
    counters = MapInfo(7, "counters", COUNTERS)
    return bare(
        ours=OURS,
        pinned=program,
        running=program,
        held={7: counters, 8: MapInfo(8, "packet_c.rodata", RODATA)},
        maps={"counters": counters},
        record=Record(Deployed("/lib/packet_count.bpf.o", "new", "packet_count", "auto"), 41),
    )._replace(**changes)


@pytest.fixture(autouse=True)
def is_unchanged_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test here plans: what is_unchanged() says of it holds."""
    whole = planning.plan

    def checked(want: Wanted, seen: Seen) -> Plan:
        unchanged, now = is_unchanged(want, seen), describe(seen)
        try:
            made = whole(want, seen)
        except FleetError:
            assert not unchanged
            raise
        assert not unchanged or made == Plan(seen, (), now, now)
        return made

    monkeypatch.setattr(planning, "plan", checked)


def steps(want: Wanted, seen: Seen) -> t.List[str]:
    return [str(step) for step in planning.plan(want, seen).steps]


RELOADED = ["load packet_count, keeping the maps counters", "swap the program in the link", "write the record"]


def test_nothing_to_do() -> None:
    for want in (wanted(), wanted("loaded"), wanted(mode="auto", reset_maps=True), wanted(replace=True)):
        plan = planning.plan(want, deployed())
        assert plan.steps == ()
        assert plan.before == plan.after
    assert steps(wanted("absent"), bare()) == []
    assert steps(wanted("detached"), bare()) == []


def test_that_nothing_is_to_do_is_known_without_a_plan() -> None:
    for want in (wanted(), wanted(reset_maps=True), wanted(replace=True), wanted(persist="auto")):
        assert is_unchanged(want, deployed())
        assert is_unchanged(want._replace(replace=False, reset_maps=False), deployed(persistence=KEPT))


def test_from_nothing() -> None:
    assert steps(wanted(), bare()) == ["load packet_count", "attach by link, mode auto", "write the record"]
    assert steps(wanted("loaded"), bare()) == ["load packet_count", "write the record"]


@pytest.mark.parametrize(
    ("broken", "repair"),
    [
        ({"pinned": None}, ["pin the running program again"]),
        ({"maps": {}}, ["pin the map counters again"]),
        ({"ours": None}, ["attach by link, mode auto"]),
        ({"ours": DEAD}, ["remove the dead link", "attach by link, mode auto"]),
        ({"ours": OURS._replace(ifindex=9, mode=None)}, ["detach", "attach by link, mode auto"]),
        ({"leftovers": ("/x/program%new",)}, ["remove /x/program%new"]),
        ({"record": None}, RELOADED),
        ({"record": Record(Deployed("", "old", "packet_count", "auto"), 41)}, RELOADED),
        ({"record": Record(Deployed("", "new", "packet_count", "auto"), 40)}, RELOADED),
        ({"maps": {"counters": MapInfo(99, "counters", COUNTERS)}}, ["pin the map counters again"]),
        (
            {"maps": {"counters": MapInfo(7, "counters", COUNTERS), "old": MapInfo(8, "old", COUNTERS)}},
            [f"remove {PLACE.map('old')}"],
        ),
    ],
)
def test_only_what_is_broken_is_repaired(broken: t.Dict[str, t.Any], repair: t.List[str]) -> None:
    assert steps(wanted(), deployed(**broken)) == repair


# What a task may want, and what may have happened to its interface, each of them with each other.
WANTS: t.List[t.Dict[str, t.Any]] = [
    {},
    {"state": "loaded"},
    {"mode": "native"},
    {"mode": "generic"},
    {"object": an_object("newer")},
    {"object": an_object(maps=(ObjectMap("counters", COUNTERS, False), ObjectMap("more", COUNTERS, False)))},
    {"object": ObjectFacts("/lib/packet_count.bpf.o", "new")},
    {"object": ObjectFacts("/lib/packet_count.bpf.o", None)},
    {"program": "packet_count_frags"},
    {"reset_maps": True},
    {"replace": True},
    {"frags": True},
    {"persist": "true"},
    {"persist": "false"},
    {"sizes": {"counters": 1}},
    {"dispatcher": "always"},
]
HAPPENED: t.List[t.Dict[str, t.Any]] = [
    {},
    {"ifindex": 0},
    {"mtu": 9000},
    {"ours": None},
    {"ours": DEAD},
    {"ours": OURS._replace(mode="generic")},
    {"ours": OURS._replace(ifindex=9, mode=None, elsewhere=True)},
    {"pinned": None},
    {"pinned": ProgramInfo(40, "xdp", "packet_count", "5bb1", 0, (7, 8))},
    {"running": None, "held": {}},
    {"maps": {}},
    {"maps": {"counters": MapInfo(99, "counters", COUNTERS)}},
    {"maps": {"counters": MapInfo(7, "counters", COUNTERS), "old": MapInfo(8, "old", COUNTERS)}},
    {"leftovers": ("/x/program%new",)},
    {"record": None},
    {"record": Record(DEPLOYED, 40)},
    {"record": Record(DEPLOYED._replace(mode="native"), 41)},
    {"record": Record(DEPLOYED._replace(checksum="old"), 41)},
    {"record": Record(DEPLOYED._replace(variables={"limit": 5}), 41)},
    {"record": Record(DEPLOYED._replace(sizes={"counters": 2}), 41)},
    {"record": Record(DEPLOYED._replace(sharing={"priority": 5, "chain_call_actions": ["pass"]}), 41)},
    {"others": (Hook("generic", ProgramInfo(50, "xdp", "other", "5bb2", 0, ())),)},
    {"former": PLACE._replace(root="/sys/fs/bpf/former")},
    {"persistence": Persistence()},
    {"persistence": Persistence(obstacle="no systemd")},
    {"persistence": Persistence(traces=True, whole=True, damage="/var/lib/x.json is damaged")},
]


@pytest.mark.parametrize("happened", HAPPENED, ids=lambda each: ",".join(each) or "nothing")
def test_whether_anything_is_to_do_is_known_without_a_plan(happened: t.Dict[str, t.Any]) -> None:
    for options in WANTS:
        for more in HAPPENED:
            with contextlib.suppress(FleetError):
                planning.plan(wanted(**options), deployed(**{**more, **happened}))


def test_upgrade_and_reset() -> None:
    newer = an_object("newer")
    assert steps(wanted(object=newer), deployed()) == RELOADED
    assert steps(wanted(object=newer, reset_maps=True), deployed())[0] == "load packet_count"
    load = planning.plan(wanted(object=newer), deployed()).steps[0]
    assert load == planned_steps.Load("packet_count", {"counters": 7}, ())


def test_changed_shape() -> None:
    wide = an_object("newer", maps=(ObjectMap("counters", COUNTERS._replace(value_size=24), False),))
    with pytest.raises(FleetError, match=r"the map counters has changed its shape .*value 16 B.*value 24 B.*reset"):
        planning.plan(wanted(object=wide), deployed())
    assert planning.plan(wanted(object=wide, reset_maps=True), deployed()).steps


def test_sizes_that_libbpf_chooses_are_not_a_change() -> None:
    ring = MapShape("ringbuf", 0, 0, 5000, 0)
    seen = deployed(
        held={7: MapInfo(7, "events", ring._replace(max_entries=8192))},
        maps={"events": MapInfo(7, "events", ring._replace(max_entries=8192))},
    )
    newer = an_object("newer", maps=(ObjectMap("events", ring, False),))
    assert steps(wanted(object=newer), seen)[0] == "load packet_count, keeping the maps events"


def test_maps_are_found_by_pin_first_and_never_guessed() -> None:
    """The kernel cuts names at 15 characters: two may look the same."""
    first, second = (MapInfo(number, "counters_per_so", COUNTERS) for number in (7, 8))
    maps = tuple(ObjectMap(name, COUNTERS, False) for name in ("counters_per_source", "counters_per_socket"))
    pins = {"counters_per_source": first, "counters_per_socket": second}
    newer = wanted(object=an_object("newer", maps=maps))
    load = planning.plan(newer, deployed(held={7: first, 8: second}, maps=pins)).steps[0]
    assert load == planned_steps.Load("packet_count", {"counters_per_source": 7, "counters_per_socket": 8}, ())
    load = planning.plan(newer, deployed(held={7: first, 8: second}, maps={})).steps[0]
    assert isinstance(load, planned_steps.Load) and load.reuse == {}


def test_a_map_that_the_program_does_not_use() -> None:
    """A different program of the object may use it, so it has to be pinned, and nothing more."""
    two = an_object(maps=(ObjectMap("counters", COUNTERS, False), ObjectMap("unused", COUNTERS, False)))
    both = {"counters": MapInfo(7, "counters", COUNTERS), "unused": MapInfo(9, "unused", COUNTERS)}
    assert steps(wanted(object=two), deployed(maps=both)) == []
    assert steps(wanted(object=two), deployed())[0] == "load packet_count, keeping the maps counters"


def test_jumbo_mtu_selects_the_frags_twin_if_the_kernel_supports_it() -> None:
    assert steps(wanted(frags=True), bare(mtu=9000))[0] == "load packet_count_frags"
    assert steps(wanted(frags=False), bare(mtu=9000))[0] == "load packet_count"
    assert steps(wanted(frags=True), bare(mtu=1500))[0] == "load packet_count"
    assert steps(wanted(frags=True), deployed(mtu=9000)) == [
        "load packet_count_frags, keeping the maps counters",
        "swap the program in the link",
        "write the record",
    ]


def test_modes() -> None:
    assert steps(wanted(mode="generic"), deployed()) == ["detach", "attach by link, mode generic", "write the record"]
    # Generic mode as auto's fallback is left alone; if generic was requested before, auto tries native again.
    assert steps(wanted(), deployed(ours=OURS._replace(mode="generic"))) == []
    asked = Record(Deployed("", "new", "packet_count", "generic"), 41)
    assert steps(wanted(), deployed(ours=OURS._replace(mode="generic"), record=asked))[:2] == [
        "detach",
        "attach by link, mode auto",
    ]


FOREIGN = ProgramInfo(77, "xdp", "acl_v2", "5bb1aa", 0, ())


@pytest.mark.parametrize(("links", "how"), [((), "by netlink"), ((9,), "by link 9"), ((9, 12), "by link 9 or 12")])
def test_a_foreign_program(links: t.Tuple[int, ...], how: str) -> None:
    seen = bare(others=(Hook("native", FOREIGN, links),))
    with pytest.raises(FleetError) as refused:
        planning.plan(wanted(), seen)
    assert str(refused.value) == (
        f"cannot attach packet_count to eth0: it already runs XDP program 77 'acl_v2' (tag 5bb1aa), attached {how},"
        " native, which this collection did not attach; set on_conflict: replace to take its place"
    )
    assert steps(wanted(replace=True), seen) == [
        "load packet_count",
        f"detach foreign XDP program 77 'acl_v2' (tag 5bb1aa), attached {how}, native",
        "attach by link, mode auto",
        "write the record",
    ]
    for state in ("loaded", "detached", "absent"):
        assert not any("detach foreign" in step for step in steps(wanted(state), seen))


def test_a_dispatcher_is_called_by_its_name() -> None:
    seen = bare(others=(Hook("native", FOREIGN._replace(name="xdp_dispatcher"), (9,)),))
    with pytest.raises(FleetError, match="a libxdp dispatcher, which this collection did not attach"):
        planning.plan(wanted(), seen)


def test_no_interface() -> None:
    with pytest.raises(FleetError, match="there is no interface eth0 on this host"):
        planning.plan(wanted(), bare(ifindex=0))
    assert steps(wanted("absent"), deployed(ifindex=0, ours=DEAD))[0] == "remove the dead link"


def test_absent_removes_each_pin() -> None:
    assert steps(wanted("absent"), deployed()) == [
        "detach",
        f"remove {PLACE.map('counters')}",
        f"remove {PLACE.program}",
        "remove the record",
    ]


def test_detached_keeps_program_and_maps() -> None:
    plan = planning.plan(wanted("detached"), deployed())
    assert [str(step) for step in plan.steps] == ["detach"]
    assert plan.after["pins"] == ["maps/counters", "program"]
    assert steps(wanted("detached"), deployed(ours=None)) == []


def test_object_that_does_not_exist_yet() -> None:
    pending = ObjectFacts("/lib/x.bpf.o", None)
    assert steps(wanted(object=pending), bare()) == [
        "load packet_count",
        "attach by link, mode auto",
        "write the record",
    ]
    assert steps(wanted(object=pending), deployed())[-2:] == ["swap the program in the link", "write the record"]
    assert steps(wanted(object=ObjectFacts("/lib/x.bpf.o", "new")), deployed()) == []


def test_choosing_the_program() -> None:
    tc = ObjectProgram("classify", "tc", 2, False, True)
    assert an_object().xdp_program(None) == "packet_count"
    assert an_object().xdp_program("packet_count_frags") == "packet_count_frags"
    with pytest.raises(FleetError, match=r"has no XDP program for an interface; its programs: classify \(section tc\)"):
        an_object(programs=(tc,)).xdp_program(None)
    with pytest.raises(FleetError, match="its programs: none"):
        an_object(programs=()).xdp_program(None)
    with pytest.raises(FleetError, match="several XDP programs: packet_count, other; say which"):
        an_object(programs=(PLAIN, PLAIN._replace(name="other"))).xdp_program(None)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("auto", ["pin the link again"]),
        ("native", ["pin the link again", "write the record"]),
        ("generic", ["pin the link again", "detach", "attach by link, mode generic", "write the record"]),
    ],
)
def test_our_own_link_without_its_pin(mode: str, expected: t.List[str]) -> None:
    seen = deployed()
    assert seen.pinned
    lost = seen._replace(ours=None, others=(Hook("native", seen.pinned, (3,)),))
    assert steps(wanted(mode=mode), lost) == expected


MANIFEST = Manifest(DEPLOYED)
NOTHING = Persistence()
KEPT = Persistence(MANIFEST, True, True)
PERSIST = "restore it after a reboot"
FORGET = "stop restoring it after a reboot"


@pytest.mark.parametrize(
    ("options", "persistence", "expected"),
    [
        ({}, NOTHING, []),
        ({"persist": "auto"}, NOTHING, [PERSIST]),
        ({"persist": "auto"}, NOTHING._replace(obstacle="no systemd"), []),
        ({"persist": "true"}, NOTHING, [PERSIST]),
        ({"persist": "true"}, KEPT, []),
        ({"persist": "true"}, KEPT._replace(whole=False), [PERSIST]),
        ({"persist": "true"}, Persistence(None, True, True), [PERSIST]),  # a damaged manifest
        (
            {"persist": "true"},
            KEPT._replace(manifest=MANIFEST._replace(deployed=DEPLOYED._replace(checksum="old"))),
            [PERSIST],
        ),
        ({"persist": "true"}, KEPT._replace(manifest=MANIFEST._replace(generic=True)), [PERSIST]),
        ({"persist": "true", "replace": True}, KEPT, [PERSIST]),
        ({}, KEPT, []),
        ({}, KEPT._replace(manifest=MANIFEST._replace(deployed=DEPLOYED._replace(checksum="old"))), [PERSIST]),
        ({"persist": "false"}, KEPT, [FORGET]),
        ({"persist": "false"}, NOTHING._replace(traces=True), [FORGET]),
        ({"persist": "auto"}, KEPT._replace(obstacle="no systemd"), [FORGET]),
    ],
)
def test_what_is_restored_at_boot(options: t.Dict[str, t.Any], persistence: Persistence, expected: t.List[str]) -> None:
    assert steps(wanted(**options), deployed(persistence=persistence)) == expected


def test_a_variable_that_is_no_longer_listed_keeps_its_value_over_a_reboot() -> None:
    kept = KEPT._replace(manifest=MANIFEST._replace(globals={"limit": 5}))
    assert steps(wanted(), deployed(persistence=kept)) == []
    newer = planning.plan(wanted(object=an_object("newer")), deployed(persistence=kept)).steps[-1]
    assert isinstance(newer, planned_steps.Persist) and newer.manifest.globals == {}  # it may not have it


def test_what_cannot_be_restored_is_refused() -> None:
    with pytest.raises(FleetError, match="on eth0 after a reboot: no systemd; set persist: auto"):
        steps(wanted(persist="true"), deployed(persistence=NOTHING._replace(obstacle="no systemd")))


def test_what_is_detached_or_absent_is_no_longer_restored() -> None:
    for state in ("detached", "absent"):
        assert steps(wanted(state), deployed(persistence=KEPT))[0] == FORGET
    assert steps(wanted("absent"), bare(persistence=KEPT)) == [FORGET]  # after a reboot without the interface
    assert steps(wanted("loaded"), bare(persistence=KEPT))[-1] == FORGET


def test_an_upgrade_renews_what_is_restored() -> None:
    planned = planning.plan(wanted(object=an_object("newer")), deployed(persistence=KEPT))
    assert planned.steps[-1] == planned_steps.Persist(MANIFEST._replace(deployed=DEPLOYED._replace(checksum="newer")))
    assert planned.before["persistent"] and planned.after["persistent"]


def test_at_boot_the_current_mode_is_used_and_the_requested_one_recorded() -> None:
    planned = steps(wanted(generic=True), bare())
    assert "attach by link, mode generic" in planned
    note = planning.plan(wanted(generic=True), bare()).steps[-1]
    assert isinstance(note, planned_steps.Note) and note.deployed and note.deployed.mode == "auto"


DAMAGED = Persistence(traces=True, whole=True, damage="/var/lib/x.json is damaged")


@pytest.mark.parametrize("obstacle", ["", "no systemd"])
def test_a_manifest_that_cannot_be_read_is_kept_where_persist_is_left_out(obstacle: str) -> None:
    damaged = DAMAGED._replace(obstacle=obstacle)
    plan = planning.plan(wanted(), deployed(persistence=damaged))
    assert plan.steps == ()
    assert len(plan.warnings) == 1 and plan.warnings[0].startswith("/var/lib/x.json is damaged")
    upgrade = planning.plan(wanted(object=an_object("newer")), deployed(persistence=damaged))
    assert not any(isinstance(step, (planned_steps.Persist, planned_steps.Forget)) for step in upgrade.steps)
    assert upgrade.warnings == plan.warnings


def test_a_manifest_that_cannot_be_read_goes_where_somebody_says_so() -> None:
    seen = deployed(persistence=DAMAGED)
    assert steps(wanted(persist="auto"), seen) == [PERSIST]
    assert steps(wanted(persist="false"), seen) == [FORGET]
    for state in ("absent", "detached"):
        assert steps(wanted(state), seen)[0] == FORGET


def test_detached_where_only_the_manifest_is_left() -> None:
    """As after a reboot on which the program was not restored."""
    plan = planning.plan(wanted("detached"), bare(persistence=KEPT))
    assert [str(step) for step in plan.steps] == [FORGET]
    assert (plan.before["state"], plan.after["state"]) == ("absent", "absent")


# Network namespaces

ELSEWHERE = OURS._replace(mode=None, elsewhere=True)


@pytest.mark.parametrize("state", ["attached", "loaded"])
def test_what_is_attached_in_a_different_network_namespace_is_kept(state: str) -> None:
    with pytest.raises(FleetError, match="attached to interface 2 of a different network namespace"):
        planning.plan(wanted(state, replace=True), deployed(ours=ELSEWHERE))


def test_it_is_removed_if_that_is_asked_for() -> None:
    for state in ("detached", "absent"):
        steps = [str(step) for step in planning.plan(wanted(state), deployed(ours=ELSEWHERE)).steps]
        assert "detach from interface 2 of a different network namespace" in steps


@pytest.mark.parametrize("state", ["attached", "detached", "absent"])
def test_pins_of_an_older_release_are_moved_first(state: str) -> None:
    former = PLACE._replace(root="/sys/fs/bpf/ebpf_fleet@4026531840")
    moved = planning.plan(wanted(state), deployed(former=former))
    assert moved.steps[0] == planned_steps.Move(former)
    assert moved.steps[1:] == planning.plan(wanted(state), deployed()).steps


BLOCK = MapShape("hash", 4, 1, 100, 0)
KEYS = [bytes([number, 0, 0, 0]) for number in range(4)]


def filtering(maps: t.Tuple[ObjectMap, ...] = (ObjectMap("block", BLOCK, False),)) -> ObjectFacts:
    return an_object(maps=maps)


def filtered(shape: MapShape = BLOCK, **changes: t.Any) -> Seen:
    """The program runs, and its map has the first two keys."""
    info = MapInfo(7, "block", shape)
    entries = {"block": dict.fromkeys(KEYS[:2], b"\1")}
    return deployed(held={7: info}, maps={"block": info}, entries=entries)._replace(**changes)


def filling(declared: Declared, shape: MapShape = BLOCK, **more: t.Any) -> t.Tuple[Filling, ...]:
    return (Filling("block", declared, 1, typed(None, shape, 0, 0), **more),)


def test_maps_that_are_not_reset_are_compared_with_what_is_in_them() -> None:
    """maps: reset does nothing while the program is the same."""
    kept = Persistence(MANIFEST, True, True, lists={"block": {KEYS[0]: b"\1", KEYS[1]: b"\1"}})
    listed = Declared({KEYS[0]: b"\1"})
    want = wanted(object=filtering(), reset_maps=True, fillings=filling(listed))
    assert steps(want, filtered(persistence=kept)) == []
    want = want._replace(fillings=filling(listed._replace(exclusive=True)))
    assert steps(want, filtered()) == ["remove 1 of the entries of block"]


def test_what_is_in_the_other_maps_is_read_if_one_may_be_replaced_at_once() -> None:
    """An array of programs that the object fills would be kept otherwise, with the old ones in it."""
    want = wanted(object=filtering(), fillings=filling(Declared({KEYS[2]: b"\1"}), at_once=True))
    assert planning.keeps_maps(want, filtered())
    assert planning.keeps_maps(want._replace(reset_maps=True), filtered())
    assert not planning.keeps_maps(want._replace(fillings=filling(Declared({}))), filtered())
    assert not planning.keeps_maps(wanted(object=an_object("newer"), reset_maps=True), deployed())


def test_a_new_map_needs_no_undo_of_its_entries() -> None:
    """An array could not delete them, so the rollback of a first deployment failed."""
    array = MapShape("array", 4, 1, 4, 0)
    want = wanted(object=filtering((ObjectMap("block", array, False),)))
    want = want._replace(fillings=filling(Declared({KEYS[0]: b"\1"}), array))
    fills = [step for step in planning.plan(want, bare()).steps if isinstance(step, planned_steps.Fill)]
    assert fills == [planned_steps.Fill("block", Difference(added={KEYS[0]: b"\1"}.items()), fresh=True)]
    fills = [step for step in planning.plan(want, filtered(array)).steps if isinstance(step, planned_steps.Fill)]
    assert fills == []
    want = want._replace(fillings=filling(Declared({KEYS[0]: b"\2"}), array))
    fills = [step for step in planning.plan(want, filtered(array)).steps if isinstance(step, planned_steps.Fill)]
    assert fills == [planned_steps.Fill("block", Difference(updated=(Updated(KEYS[0], b"\1", b"\2"),)))]


def test_an_array_that_gets_shorter_loses_no_element_silently() -> None:
    was, now = (MapShape("array", 4, 1, size, 0) for size in (2, 1))
    want = wanted(object=filtering((ObjectMap("block", now, False),)), sizes={"block": 1})
    with pytest.raises(FleetError, match="block has elements up to 1, and is to have 0 to 0: nothing was changed"):
        planning.plan(want._replace(fillings=filling(Declared({KEYS[0]: b"\1"}), now)), filtered(was))


def test_entries_of_a_map_of_a_different_type_are_not_read() -> None:
    """Of a queue, say, they cannot be; not even maps: reset would help."""
    want = wanted(object=filtering()._replace(checksum="newer"), fillings=filling(Declared({KEYS[0]: b"\1"})))
    assert list(planning.maps_there(want, filtered())) == ["block"]
    assert list(planning.maps_there(want, filtered(BLOCK._replace(max_entries=5)))) == ["block"]
    for other in (MapShape("queue", 0, 1, 100, 0), BLOCK._replace(type="lru_hash"), BLOCK._replace(value_size=8)):
        assert planning.maps_there(want, filtered(other)) == {}
        with pytest.raises(FleetError, match="the map block has changed its shape"):
            planning.plan(want, filtered(other, entries={}))


def test_a_diff_shows_entries_up_to_its_limit() -> None:
    listed = Declared({KEYS[0]: b"\2", KEYS[2]: b"\1", KEYS[3]: b"\1"}, exclusive=True)
    plan = planning.plan(wanted(object=filtering(), fillings=filling(listed, limit=2)), filtered())
    assert plan.before["entries"] == {"block": {"0x00000000": "0x01", "…": "and 2 more changes"}}
    assert plan.after["entries"] == {"block": {"0x00000000": "0x02", "0x02000000": "0x01", "…": "and 2 more changes"}}


def test_a_diff_shows_what_variables_are_in_the_kernel() -> None:
    section = MapShape("array", 4, 1, 1, MMAPABLE)
    info = MapInfo(7, "filter.data", section)
    pin = map_pin(".data")
    seen = deployed(held={7: info}, maps={pin: info}, contents={7: Contents(data=b"\7")})
    limit = Setting("limit", pin, 0, b"\2", b"\xff", 2, False, lambda data: data[0])
    plan = planning.plan(wanted(object=filtering((ObjectMap("filter.data", section, True),)), settings=(limit,)), seen)
    assert [str(step) for step in plan.steps] == ["set limit to 2 in .data"]
    assert (plan.before["variables"], plan.after["variables"]) == ({"limit": 7}, {"limit": 2})


def test_kept_lists_without_a_manifest_are_nobodys() -> None:
    left = Persistence(None, True, True, lists={"block": {KEYS[3]: b"\1"}, "allow": None})
    want = wanted(object=filtering(), persist="true", fillings=filling(Declared({KEYS[0]: b"\1"})))
    planned = planning.plan(want, filtered(persistence=left)).steps
    assert planned[:2] == (planned_steps.Keep("allow", None), planned_steps.Keep("block", {KEYS[0]: b"\1"}))

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade keeps, without a kernel. tests/integration/test_upgrade.py has real maps."""

from __future__ import annotations

import contextlib
import struct
import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.hooks import Attachment
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.apply import Applier
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.contents import Contents, Inner
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.declared import Setting
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Wanted
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.settings import set_variables
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import SetVariables, Value
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.upgrade import Upgrade, plan_upgrade
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import maps
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import MapInfo, ProgramInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MMAPABLE, MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Member
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import ObjectMap
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image, ObjectFacts
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place, map_pin
from ansible_collections.ebpf.fleet.plugins.module_utils.state.records import Record

INT = Layout("int", 4)
PROGRAM = ProgramInfo(41, "xdp", "filter", "5bb1", 0, (7,))
ATTACHED = Attachment("link", 3, 41, 2, "native")


def section(*names: str) -> Layout:
    """Variables of four bytes, one after the other."""
    return Layout("datasec", 4 * len(names), tuple(Member(name, 32 * at, INT) for at, name in enumerate(names)))


def numbers(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


def upgrade(
    shapes: t.Tuple[MapShape, MapShape],
    contents: t.Tuple[Contents, Contents],
    name: str = "m",
    first: t.Optional[bytes] = None,
    attached: bool = True,
    settings: t.Tuple[Setting, ...] = (),
) -> Upgrade:
    """An upgrade of one map from the first of each to the second. `first`: what the record says it began with."""
    pin = map_pin(name)
    wanted = Wanted("attached", "filter", ObjectFacts("/f.o", "new", (), (ObjectMap(name, shapes[1], "." in name),)))
    record = Record(Deployed("/f.o", "old", "filter"), 41, {pin: first.hex()} if first else {})
    info = MapInfo(7, name, shapes[0])
    seen = Seen(
        place=Place("/x", "filter", "eth0"),
        ifindex=2,
        mtu=1500,
        ours=ATTACHED if attached else None,
        pinned=PROGRAM,
        running=PROGRAM,
        held={7: info},
        maps={pin: info},
        leftovers=(),
        record=record,
        others=(),
        contents={7: contents[0]},
    )
    wanted = wanted._replace(contents={pin: contents[1]}, settings=settings)
    return plan_upgrade(wanted, seen, {pin: shapes[1]}, {pin: info})


def upgraded_data(
    old: Contents, new: Contents, name: str = "filter.data", flags: int = MMAPABLE, **how: t.Any
) -> Upgrade:
    shapes = (MapShape("array", 4, len(old.data), 1, flags), MapShape("array", 4, len(new.data), 1, MMAPABLE))
    return upgrade(shapes, (old, new), name, **how)


OLD = Contents(value=section("limit", "hits"), data=numbers(10, 5))
NEW = Contents(value=section("limit", "hits"), data=numbers(20, 0))


def test_a_first_value_is_taken_if_nobody_changed_it() -> None:
    found = upgraded_data(OLD, NEW, first=numbers(10, 0))
    assert found.steps == (SetVariables(map_pin(".data"), 7, 8, (Value("limit", 0, numbers(10), numbers(20), "20"),)),)
    assert (list(found.keep), found.warnings) == ([map_pin(".data")], ())


@pytest.mark.parametrize(
    ("how", "stays"),
    [
        ({"first": numbers(3, 0)}, ["limit"]),  # somebody has changed it from 3 to 10
        ({"first": None}, ["limit", "hits"]),  # not known
        ({"first": numbers(10, 0, 0)}, ["limit", "hits"]),  # of a section of a different size
        ({"first": numbers(10, 0), "flags": 0}, ["limit"]),  # could only be written with all that is beside it
        ({"first": numbers(20, 0)}, []),  # the source says what it said
    ],
)
def test_what_stays_is_said(how: t.Dict[str, t.Any], stays: t.List[str]) -> None:
    found = upgraded_data(OLD, NEW, **how)
    assert found.steps == () and list(found.keep) == [map_pin(".data")]
    assert [warning.split()[0] for warning in found.warnings] == stays
    assert all("stays 10, the object says 20" in each for each in found.warnings if each.startswith("limit"))


def test_what_bss_began_with_needs_no_record() -> None:
    old, new = OLD._replace(data=numbers(0, 5)), NEW._replace(data=bytes(8))
    found = upgraded_data(old, new, name="filter.bss")
    assert (found.steps, found.warnings) == ((), ())


def test_a_section_that_nobody_changed_is_carried_over_while_the_program_runs() -> None:
    old = OLD._replace(data=numbers(10, 0))
    new = Contents(value=section("burst", "hits", "limit"), data=numbers(1, 0, 20))
    found = upgraded_data(old, new, first=numbers(10, 0))
    assert (found.keep, found.begin, found.warnings) == ({}, {map_pin(".data"): numbers(1, 0, 20)}, ())
    with pytest.raises(FleetError, match="has changed its shape"):  # it is not known whether nobody has
        upgraded_data(old, new)
    with pytest.raises(FleetError, match="or detach it first"):  # a count that begins now would be lost
        upgraded_data(old._replace(data=bytes(8)), new, name="filter.bss")


def test_a_detached_section_is_carried_over_by_name() -> None:
    new = Contents(value=section("burst", "hits"), data=numbers(1, 0))
    found = upgraded_data(OLD, new, attached=False)
    assert found.begin == {map_pin(".data"): numbers(1, 5)}
    assert found.warnings[-1] == "limit of .data on eth0 is gone: the new object has no such variable"


def test_without_btf_only_the_size_counts() -> None:
    assert upgraded_data(OLD._replace(value=None), NEW).keep
    with pytest.raises(FleetError, match=r"it is array.*value 8 B.*the new object needs array.*value 12 B") as refused:
        upgraded_data(OLD._replace(value=None), NEW._replace(data=bytes(12)))
    assert "detach it first" not in str(refused.value)


def test_whether_libbpf_makes_a_section_mappable_is_no_change() -> None:
    assert upgraded_data(OLD._replace(data=numbers(20, 0)), NEW, flags=0).keep


def declared(name: str, offset: int, value: int) -> Setting:
    return Setting(name, map_pin(".data"), offset, numbers(value), b"\xff" * 4, value, False, lambda data: data)


def test_a_declared_variable_is_set_or_refused() -> None:
    found = upgraded_data(OLD, NEW, settings=(declared("hits", 4, 0),), first=numbers(10, 0))
    assert [(step.declared, step.values[0].after) for step in found.steps if isinstance(step, SetVariables)] == [
        (False, numbers(20)),
        (True, numbers(0)),
    ]
    unread = OLD._replace(value=None, data=b"")  # the map has no BTF, or more than 1 MiB
    shape = MapShape("array", 4, 8, 1, MMAPABLE)
    for value in (0, 7):
        with pytest.raises(FleetError, match=r"hits cannot be set while the program runs.*not known.*maps: reset"):
            upgrade((shape, shape), (unread, NEW), "filter.data", settings=(declared("hits", 4, value),))


def test_of_a_variable_only_the_members_that_the_task_names_are_written() -> None:
    """The program may count in the others meanwhile."""
    part = declared("limit", 0, 7)._replace(data=numbers(7, 0, 9), mask=b"\xff" * 4 + bytes(4) + b"\xff" * 4)
    (step,) = set_variables((part,), filtered(numbers(1, 5, 2)), {})
    assert [(each.offset, each.before, each.after) for each in step.values] == [
        (0, numbers(1), numbers(7)),
        (8, numbers(2), numbers(9)),
    ]
    assert str(step) == "set limit to 7 in .data"
    assert list(set_variables((part,), filtered(numbers(7, 6, 9)), {})) == []


def filtered(data: bytes) -> Seen:
    info = MapInfo(7, "filter.data", MapShape("array", 4, len(data), 1, MMAPABLE))
    return Seen(
        place=Place("/x", "filter", "eth0"),
        ifindex=2,
        mtu=1500,
        ours=ATTACHED,
        pinned=PROGRAM,
        running=PROGRAM,
        held={7: info},
        maps={map_pin(".data"): info},
        leftovers=(),
        record=None,
        others=(),
        contents={7: Contents(data=data)},
    )


def test_what_the_task_says_is_written_though_the_program_changed_it_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"data": numbers(3, 4)}

    def store(_fd: int, _size: int, changes: t.Mapping[int, bytes]) -> None:
        for offset, value in changes.items():
            kept["data"] = kept["data"][:offset] + value + kept["data"][offset + len(value) :]

    monkeypatch.setattr(maps, "lookup", lambda *_arguments: kept["data"])
    monkeypatch.setattr(maps, "store", store)
    lib: t.Any = types.SimpleNamespace(map_by_id=lambda _number: contextlib.nullcontext(3))
    values = tuple(Value("x", offset, numbers(before), numbers(9), "9") for offset, before in ((0, 1), (4, 4)))
    for of_task, expected in ((True, numbers(9, 9)), (False, numbers(3, 9))):
        applier = Applier(lib, Image(), print)
        applier._do_SetVariables(t.cast(t.Any, None), SetVariables(map_pin(".data"), 7, 8, values, of_task))
        assert kept["data"] == expected
        applier.roll_back()
        assert kept["data"] == numbers(3, 4)


PROGRAMS = MapShape("prog_array", 4, 4, 8, 0)


def test_an_array_of_the_objects_own_programs_is_new() -> None:
    old, new = Contents(slots=frozenset({0, 1, 5})), Contents(slots=frozenset({0, 1}))
    found = upgrade((PROGRAMS, PROGRAMS), (old, new))
    assert found.keep == {}
    assert found.warnings == ("m on eth0 is filled by the new object; what was in its slot 5 is not kept",)
    assert upgrade((PROGRAMS, PROGRAMS), (new, old)).warnings == ()


def test_an_array_of_programs_from_outside_is_kept() -> None:
    found = upgrade((PROGRAMS, PROGRAMS), (Contents(slots=frozenset({3, 4})), Contents()))
    assert list(found.keep) == ["m"]
    assert "still calls the programs in its slots 3, 4" in found.warnings[0]
    assert upgrade((PROGRAMS, PROGRAMS), (Contents(), Contents())).warnings == ()


MAPS = MapShape("hash_of_maps", 4, 4, 8, 0)
INNER = Inner(MapShape("hash", 4, 8, 100, 0), INT, Layout("int", 8))


@pytest.mark.parametrize(
    ("new", "refused"),
    [
        (INNER, ""),
        (INNER._replace(shape=INNER.shape._replace(max_entries=5)), ""),  # the kernel allows that too
        (
            INNER._replace(shape=INNER.shape._replace(value_size=16)),
            "the maps in it: they are hash, key 4 B, value 8 B",
        ),
        (INNER._replace(value=Layout("struct", 8, (Member("a", 0, INT),))), "the value of the maps in it"),
    ],
)
def test_maps_of_maps(new: Inner, refused: str) -> None:
    contents = (Contents(inner=INNER), Contents(inner=new))
    if refused:
        with pytest.raises(FleetError, match=refused):
            upgrade((MAPS, MAPS), contents)
    else:
        assert upgrade((MAPS, MAPS), contents).keep
    assert upgrade((MAPS, MAPS), (Contents(), Contents(inner=new))).keep  # empty: there is nothing to misread


def test_arrays_in_maps_of_maps_must_have_the_same_length() -> None:
    array = Inner(MapShape("array", 4, 8, 4, 0), INT, None)
    longer = array._replace(shape=array.shape._replace(max_entries=5))
    with pytest.raises(FleetError, match="the maps in it"):
        upgrade((MAPS, MAPS), (Contents(inner=array), Contents(inner=longer)))
    any_length = [each._replace(shape=each.shape._replace(flags=1 << 12)) for each in (array, longer)]
    assert upgrade((MAPS, MAPS), (Contents(inner=any_length[0]), Contents(inner=any_length[1]))).keep

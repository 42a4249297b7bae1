# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared entries of the map in a slot: how the slot is named, and what the plan does with it."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import filling as filling_rules
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import slots
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.declared import Filling, InSlot
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Wanted
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.restoring import _keep
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import Fill, Keep
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Declared
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import typed
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import MapInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import ObjectMap
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image, ObjectFacts
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.persistence import Persistence
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import is_file_name, outer_pin, slot_key, slot_pin
from paths import BPF, ROOT

INNER = MapShape("hash", 1, 1, 3, 0)
OUTER = ObjectMap("lists", MapShape("array_of_maps", 4, 4, 2, 0), False)
SLOT = InSlot("lists", b"\1\0\0\0", "1", MapInfo(0, "lists", INNER))
OLD, NEW = {b"\1": b"\1"}, {b"\2": b"\1"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("slots")
    (folder / "slots.bpf.c").write_bytes((BPF / "slots.bpf.c").read_bytes())
    subprocess.run(["make", "-s", "-f", ROOT / "files/bpf/Makefile", "slots.bpf.o"], cwd=folder, check=True)
    zones = ObjectMap("zones", MapShape("hash_of_maps", 4, 4, 8, 0), False)
    first = ObjectMap("first", MapShape("lpm_trie", 8, 1, 200000, 1), False)
    path = pathlib.Path(folder / "slots.bpf.o")
    return Image(ObjectFacts(str(path), "", (), (OUTER, zones, first)), path.read_bytes())


def in_task(image: Image, name: str, value: t.Any) -> InSlot:
    types = Layouts(read_elf(image.content, "slots").sections[".BTF"])
    return slots.slot_in_task(image, types, name, value)


def test_a_slot_has_a_name_of_its_own_beside_the_pins() -> None:
    pin = slot_pin("lists", b"\1\0\xff")
    assert (pin, outer_pin(pin), slot_key(pin)) == ("lists@0100ff", "lists", b"\1\0\xff")
    assert (outer_pin("lists"), slot_key("lists")) == ("lists", None)
    assert is_file_name(pin) and not is_file_name(slot_pin("lists", bytes(128)))


def test_slots_are_typed_by_the_object(image: Image) -> None:
    array, zone = in_task(image, "lists", "1"), in_task(image, "zones", {"vlan": 7, "number": 1})
    assert (str(array), array.key, array.like.shape.type) == ("slot 1 of lists", b"\1\0\0\0", "lpm_trie")
    assert (str(zone), zone.key, zone.like.shape) == (
        'slot {"vlan": 7, "number": 1} of zones',
        b"\0\7\1\0",
        MapShape("hash", 4, 8, 1024, 0),
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lists", 2, "there is no slot 2: lists has 0 to 1"),
        ("first", 0, "first is a map of type lpm_trie, which has no slots: leave out slot"),
        ("zones", 0, "slot: 0 is not a mapping with members of struct zone"),
    ],
)
def test_what_is_no_slot_to_declare(image: Image, name: str, value: t.Any, words: str) -> None:
    with pytest.raises(FleetError, match=words):
        in_task(image, name, value)


def filling(entries: t.Mapping[bytes, bytes], **more: t.Any) -> Filling:
    exclusive = more.pop("exclusive", False)
    return Filling(SLOT.pin, Declared(entries, exclusive=exclusive), 1, typed(None, INNER, 0, 0), slot=SLOT, **more)


def planned(
    each: Filling, seen: t.Optional[t.Mapping[bytes, bytes]], kept: t.Container[str] = ("lists",)
) -> t.List[Fill]:
    found = filling_rules.compare([each], {}, {} if seen is None else {each.pin: seen})
    assert not any(one.again for one in found.values())  # the program stays as it is
    return list(filling_rules.fills(found.values(), kept, ()))


@pytest.mark.parametrize(
    ("at_once", "seen", "kept", "fresh", "written", "words"),
    [
        (False, OLD, True, False, NEW, "add 1, remove 1 of the entries of slot 1 of lists"),
        (True, OLD, True, True, NEW, "add 1, remove 1 of the entries of slot 1 of lists, in a new map"),
        (False, None, True, True, NEW, "add 1 of the entries of slot 1 of lists, in a new map"),
        (False, None, False, True, NEW, "add 1 of the entries of slot 1 of lists"),
    ],
)
def test_a_new_map_where_one_is_needed(
    at_once: bool, seen: t.Optional[t.Dict[bytes, bytes]], kept: bool, fresh: bool, written: t.Any, words: str
) -> None:
    (step,) = planned(filling(NEW, at_once=at_once, exclusive=True), seen, ["lists"] if kept else [])
    assert (str(step), step.fresh, dict(step.made.written), step.slot) == (words, fresh, written, SLOT)


@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_as_declared_stays(at_once: bool) -> None:
    assert planned(filling(OLD, at_once=at_once, exclusive=True), OLD) == []
    assert planned(filling({}, at_once=at_once, exclusive=True), None) == []


def test_an_empty_list_takes_the_place_of_another() -> None:
    (step,) = planned(filling({}, at_once=True, exclusive=True), OLD)
    assert step.fresh and not step.made and str(step) == "remove 1 of the entries of slot 1 of lists, in a new map"


def test_its_list_is_kept_as_long_as_the_object_has_the_map() -> None:
    there = Persistence(Manifest(Deployed("/f.o", "", "f", "auto")), True, True, lists={SLOT.pin: OLD, "gone@00": None})
    wanted = Wanted("attached", "f", ObjectFacts("/f.o", "", (t.cast(t.Any, None),), (OUTER,)))
    (gone,) = _keep(wanted, there)
    assert (gone, str(gone)) == (Keep("gone@00", None), "restore no entries of slot 0x00 of gone after a reboot")
    (_gone, keep) = _keep(wanted._replace(fillings=(filling(NEW),)), there)
    assert (keep, str(keep)) == (
        Keep(SLOT.pin, {**OLD, **NEW}, "slot 1 of lists"),
        "restore 2 entries of slot 1 of lists after a reboot",
    )

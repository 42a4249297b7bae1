# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of this and of other releases."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import (
    Manifest,
    all_places,
    packed,
    read_manifest,
)
from ansible_collections.ebpf.fleet.plugins.module_utils.state import deployed, places
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import sha256
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

CONTENT = b"an object"
MANIFEST = Manifest(Deployed("/o", sha256(CONTENT), "p", "native"), replace=True, generic=True, unsafe=True)


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(places, "MANIFESTS", str(tmp_path))
    found = Place("/sys/fs/bpf/x", "name", "eth0.10")
    pathlib.Path(found.manifest).parent.mkdir(parents=True)
    return found


def write(place: Place, content: bytes) -> None:
    pathlib.Path(place.manifest).write_bytes(content)


def fields() -> dict[str, object]:
    return dict(json.loads(packed(MANIFEST, CONTENT)))


def test_a_manifest(place: Place) -> None:
    write(place, packed(MANIFEST, CONTENT))
    assert read_manifest(place) == (MANIFEST, CONTENT)
    assert fields()["format"] == deployed.FORMAT


def test_one_of_the_previous_release(place: Place) -> None:
    old = {key: value for key, value in fields().items() if key not in ("format", "unsafe")}
    assert set(old) == {"object", "checksum", "program", "mode", "replace", "generic", "content"}
    write(place, json.dumps(old).encode())
    assert read_manifest(place) == (MANIFEST._replace(unsafe=False), CONTENT)


def test_one_of_a_later_release(place: Place) -> None:
    new = {**fields(), "format": 99, "priorities": {"limit": 5}}
    del new["generic"]
    write(place, json.dumps(new).encode())
    assert read_manifest(place) == (MANIFEST._replace(generic=False), CONTENT)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[" * 100_000, b"[]", b"null", b"{}", b'{"content": 1}', b'{"content": "!"}', b"\xff"]
)
def test_one_that_cannot_be_read(place: Place, damage: bytes) -> None:
    write(place, damage)
    with pytest.raises(FleetError, match="is damaged"):
        read_manifest(place)


def test_an_object_that_does_not_match_its_checksum(place: Place) -> None:
    write(place, packed(MANIFEST, b"another object"))
    with pytest.raises(FleetError, match="its object does not match its checksum"):
        read_manifest(place)


def test_all_of_a_host(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.ebpf.fleet.plugins.module_utils.persist import manifests

    monkeypatch.setattr(manifests, "MANIFESTS", places.MANIFESTS)
    assert all_places() == []
    write(place, packed(MANIFEST, CONTENT))
    assert all_places() == [place]


def test_a_mode_that_does_not_exist(place: Place) -> None:
    write(place, json.dumps({**fields(), "mode": "fast"}).encode())
    with pytest.raises(FleetError, match="is damaged"):
        read_manifest(place)


def test_one_that_others_can_change(place: Place) -> None:
    write(place, packed(MANIFEST, CONTENT))
    pathlib.Path(place.manifest).chmod(0o666)
    with pytest.raises(FleetError, match=f"{place.manifest} is not safe to restore"):
        read_manifest(place)

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of this and of other releases."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.state import deployed, places, records
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.records import Record, read_record, write_record

DEPLOYED = Deployed("/o", "abc", "p", "auto")


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> places.Place:
    monkeypatch.setattr(places, "RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(records, "RECORDS", str(tmp_path / "records"))
    return places.Place("/sys/fs/bpf/x", "name", "eth0")


def test_records(place: places.Place, tmp_path: pathlib.Path) -> None:
    record = Record(DEPLOYED, 7, {"%2Edata": "0a00"})
    assert read_record(place) is None
    write_record(place, record)
    assert read_record(place) == record
    assert list(records.records()) == [record]
    assert pathlib.Path(place.record).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "records").stat().st_mode & 0o777 == 0o700
    assert places.places_of("/sys/fs/bpf/x", "name") == [place], "a record by itself is a trace"
    write_record(place, None)
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        '{"object": 1}',
        "null",
        "{}",
        '{"program_id": 7}',
        '{"program_id": 7, "checksum": "abc", "mode": "fast"}',
        '{"program_id": "7"}',
        '{"program_id": true}',
        '{"program_id": 7, "checksum": "abc", "first": []}',
        '{"program_id": 7, "checksum": "abc", "first": {".data": "xyz"}}',
        '{"program_id": 7, "checksum": "abc", "first": {".data": 1}}',
        "\xff",
    ],
)
def test_a_damaged_record_is_none(place: places.Place, damage: str) -> None:
    write_record(place, Record(DEPLOYED, 7))
    pathlib.Path(place.record).write_bytes(damage.encode("latin1"))
    assert read_record(place) is None


def test_a_record_of_the_previous_release(place: places.Place) -> None:
    write_record(place, Record(DEPLOYED, 7))
    pathlib.Path(place.record).write_text(
        '{"object": "/o", "checksum": "abc", "program": "p", "mode": "auto", "program_id": 7}'
    )
    assert read_record(place) == Record(DEPLOYED, 7)


def test_a_record_of_a_later_release(place: places.Place) -> None:
    write_record(place, Record(DEPLOYED, 7))
    fields = json.loads(pathlib.Path(place.record).read_text())
    assert fields["format"] == deployed.FORMAT
    fields.update(format=99, priorities={"limit": 5})
    del fields["mode"]
    pathlib.Path(place.record).write_text(json.dumps(fields))
    assert read_record(place) == Record(DEPLOYED, 7)

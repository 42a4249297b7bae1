# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import pins
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.private_files import write_record
from ansible_collections.ebpf.fleet.plugins.module_utils.records import Record, read_record


def test_names_as_bpffs_allows_them() -> None:
    assert pins.escape("eth0.10") == "eth0%2E10"
    for name in ("eth0.10", "a%2Eb", "x", "100%", "a/b"):
        assert pins.unescape(pins.escape(name)) == name
        assert "." not in pins.escape(name) and "/" not in pins.escape(name)
    assert pins.map_pin("counters") == "counters"
    assert pins.map_pin("packet_c.bss") == "%2Ebss"
    assert pins.map_pin(".data.trace") == "%2Edata%2Etrace"


def test_places() -> None:
    place = pins.Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0.10")
    assert place.link == "/sys/fs/bpf/ebpf_fleet/packet_count/eth0%2E10/link"
    assert place.map("counters") == "/sys/fs/bpf/ebpf_fleet/packet_count/eth0%2E10/maps/counters"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "x" * 16, "é" * 8, "a%d"])
def test_interfaces_that_cannot_exist(name: str) -> None:
    with pytest.raises(FleetError, match="cannot exist"):
        pins.check_interface_name(name)


@pytest.mark.parametrize("name", ["eth0", "eth0.10", "x" * 15, "wlp2s0", "a-b_c@x"])
def test_interfaces_that_can(name: str) -> None:
    assert pins.check_interface_name(name) == name


def test_records(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "RECORDS", str(tmp_path / "records"))
    place = pins.Place("/sys/fs/bpf/x", "name", "eth0")
    record = Record("/o", "abc", "p", "auto", 7)
    assert read_record(place) is None
    write_record(place, record)
    assert read_record(place) == record
    assert pathlib.Path(place.record).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "records").stat().st_mode & 0o777 == 0o700
    assert pins.places("/sys/fs/bpf/x", "name") == [place], "a record alone is a trace"
    for damage in ("", "{", "[]", '{"object": 1}', "null"):
        pathlib.Path(place.record).write_text(damage)
        assert read_record(place) is None
    write_record(place, None)
    assert not (tmp_path / "records").exists()

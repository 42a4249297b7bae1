# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be written, as the user declares it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics import declared
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.declared import Declared, Mapped, declared_by, read

Options = t.Dict[str, t.Any]


def mapped(**more: t.Any) -> Options:
    return {
        "program": "blocklist",
        "map": "verdicts",
        "metric": None,
        "help": None,
        "type": "counter",
        "key_label": "key",
        "key_names": {},
        **more,
    }


def options(folder: pathlib.Path, *maps: Options, **more: t.Any) -> Options:
    return {
        "interval": 15,
        "textfile_directory": str(folder),
        "pin_root": "/sys/fs/bpf/ebpf_fleet/",
        "series_limit": 1000,
        "maps": list(maps),
        **more,
    }


def test_what_is_written_is_read_again(tmp_path: pathlib.Path) -> None:
    made = declared_by(options(tmp_path, mapped(key_names={0: "passed"}), mapped(metric="other", type="gauge")))
    assert made.maps[0] == Mapped("blocklist", "verdicts", "verdicts", "The map verdicts.", key_names={"0": "passed"})
    assert made.file == f"{tmp_path}/ebpf_fleet.prom"
    assert read(declared.written(made)) == made


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"maps": [1]}', b'{"maps": [], "colour": 1}'])
def test_a_damaged_file(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(content)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"interval": 0}, "interval is 0; give 1 or more"),
        ({"series_limit": -1}, "series_limit is -1"),
        ({"textfile_directory": "relative"}, "relative is not a directory"),
        ({"textfile_directory": "/nowhere"}, "/nowhere is not a directory"),
        ({"maps": [mapped(metric="Verdicts")]}, "metric 'Verdicts' cannot be used"),
        ({"maps": [mapped(metric="drops_total")]}, "without _total"),
        ({"maps": [mapped(metric="map_entries")]}, "received_…, program_…, map_…, metrics_… are this collection's"),
        ({"maps": [mapped(key_label="interface")]}, "key_label 'interface' cannot be used"),
        ({"maps": [mapped(key_label="__name__")]}, "key_label '__name__' cannot be used"),
        ({"maps": [mapped(program="a b")]}, "name 'a b' cannot be used"),
        ({"maps": [mapped(), mapped(map="block4", metric="verdicts")]}, "has the metric verdicts twice"),
        ({"maps": [mapped(), mapped(program="other", type="gauge")]}, "has the metric verdicts twice"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: pathlib.Path, wrong: Options, words: str) -> None:
    with pytest.raises(FleetError) as caught:
        declared_by(options(tmp_path, **wrong))
    assert words in str(caught.value)


def test_different_programs_may_share_a_metric(tmp_path: pathlib.Path) -> None:
    assert len(declared_by(options(tmp_path, mapped(), mapped(program="other"))).maps) == 2


def test_auto_takes_what_exists(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    monkeypatch.setattr(declared, "_DIRECTORIES", (f"{tmp_path}/not", str(there)))
    with pytest.raises(FleetError, match="install node_exporter"):
        declared_by(options(tmp_path, textfile_directory="auto"))
    there.mkdir()
    made: Declared = declared_by(options(tmp_path, textfile_directory="auto"))
    assert made.directory == str(there)

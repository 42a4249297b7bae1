# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an object is rebuilt, and why."""

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import build, clang
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.build import BuildRecord, Seen, Wanted
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.toolchain import Compiler, Source
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import read_file, sha256

CLANG = Compiler("/usr/bin/clang-14", 1000, 5)
SRC, DEST, HEADER = "/opt/count.bpf.c", "/opt/count.bpf.o", "/usr/include/bpf/bpf_helpers.h"
TEXT, OBJECT = b"int count;", b"\x7fELF"

WANTED = Wanted(SRC, DEST, TEXT, ("-O2", "-g"), CLANG, force=False)
RECORD = BuildRecord(("-O2", "-g"), CLANG, "clang 14", {SRC: sha256(TEXT), HEADER: "1a"}, sha256(OBJECT))
SEEN = Seen(TEXT, OBJECT, RECORD, {HEADER: "1a"})


def test_an_object_that_is_up_to_date() -> None:
    planned = build.plan(WANTED, SEEN)
    assert planned.reasons == ()
    assert planned.source == (SRC, TEXT)


def test_the_source_may_already_be_on_the_target() -> None:
    wanted = WANTED._replace(content=None)
    assert build.plan(wanted, SEEN).reasons == ()
    changed = build.plan(wanted, SEEN._replace(source=b"int other;"))
    assert changed.source.content == b"int other;" and changed.reasons == ("the source has changed",)
    with pytest.raises(FleetError, match=f"there is no source {SRC} on this host"):
        build.plan(wanted, SEEN._replace(source=None))


def test_given_content_counts_and_not_the_file_on_the_host() -> None:
    assert build.plan(WANTED, SEEN._replace(source=b"older")).reasons == ()
    assert build.plan(WANTED, SEEN._replace(source=None)).reasons == ()


@pytest.mark.parametrize(
    ("wanted", "seen", "reason"),
    [
        ({"force": True}, {}, "force is set"),
        ({}, {"object": None}, "there is no object yet"),
        ({}, {"record": None, "inputs": {}}, "there is no record of how the object was built"),
        ({"content": b"int more;"}, {}, "the source has changed"),
        ({"src": "/opt/moved.bpf.c"}, {}, "the source has changed"),
        ({}, {"inputs": {HEADER: "2b"}}, f"the header {HEADER} has changed"),
        ({}, {"inputs": {HEADER: None}}, f"the header {HEADER} has changed"),
        ({"arguments": ("-O2",)}, {}, "the flags have changed"),
        ({"compiler": CLANG._replace(mtime_ns=6)}, {}, "the compiler has changed"),
        ({}, {"object": b"\x7fELF, patched"}, "the object was changed "),
    ],
)
def test_each_reason(wanted: t.Dict[str, t.Any], seen: t.Dict[str, t.Any], reason: str) -> None:
    (found,) = build.plan(WANTED._replace(**wanted), SEEN._replace(**seen)).reasons
    assert found.startswith(reason)


def test_all_reasons_are_reported() -> None:
    wanted = WANTED._replace(force=True, content=b"int more;", arguments=())
    assert build.plan(wanted, SEEN).reasons == ("force is set", "the source has changed", "the flags have changed")


def test_paths(tmp_path: pathlib.Path) -> None:
    source, target = str(tmp_path / "a.bpf.c"), str(tmp_path / "a.bpf.o")
    build.check_paths(source, target)
    for pair in (("a.bpf.c", target), (source, "a.bpf.o"), (source, str(tmp_path)), (source, "")):
        with pytest.raises(FleetError, match="not the absolute path of a file"):
            build.check_paths(*pair)
    (tmp_path / "link").symlink_to(tmp_path / "a.bpf.c")
    for same in (source, str(tmp_path / "link"), f"{tmp_path}/../{tmp_path.name}/a.bpf.c"):
        with pytest.raises(FleetError, match="source and object are both"):
            build.check_paths(source, same)


def record_file(folder: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(build.record_path(str(folder / "a.bpf.o")))


def test_a_record_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    assert build.read_record(str(tmp_path / "a.bpf.o"), read_file) is None
    record_file(tmp_path).write_text(json.dumps(RECORD._asdict()))
    assert build.read_record(str(tmp_path / "a.bpf.o"), read_file) == RECORD


GOOD = RECORD._asdict()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        *(
            json.dumps(fields).encode()
            for fields in (
                {name: value for name, value in GOOD.items() if name != "checksum"},
                {name: value for name, value in GOOD.items() if name != "inputs"},
                {**GOOD, "unknown": 1},
                {**GOOD, "inputs": 3},
                {**GOOD, "inputs": ["ab", "c"]},
                {**GOOD, "arguments": None},
                {**GOOD, "compiler": ["/usr/bin/clang"]},
                {**GOOD, "compiler": None},
            )
        ),
    ],
)
def test_a_damaged_record_is_none(content: bytes, tmp_path: pathlib.Path) -> None:
    record_file(tmp_path).write_bytes(content)
    assert build.read_record(str(tmp_path / "a.bpf.o"), read_file) is None


def test_headers_are_those_that_clang_read(tmp_path: pathlib.Path) -> None:
    header = tmp_path / "a.h"
    header.write_text("old")
    before = clang.Built(b"", (str(header),), "clang 14", header.stat().st_ctime_ns + 1)
    source = Source(SRC, TEXT)
    assert build.record_of(WANTED, source, before, read_file).inputs[str(header)] == sha256(b"old")
    time.sleep(0.02)
    mtime = header.stat().st_mtime_ns
    header.write_text("new")
    os.utime(header, ns=(mtime, mtime))
    with pytest.raises(FleetError, match=f"the header {header} was changed while {SRC} was compiled; run the task ag"):
        build.record_of(WANTED, source, before, read_file)
    header.unlink()
    with pytest.raises(FleetError, match="was changed while"):
        build.record_of(WANTED, source, before, read_file)

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply for one object file: the spine of the module bpf_object."""

from __future__ import annotations

import json
import os
import typing as t

from .errors import FleetError
from .files import read_file, sha256
from .toolchain import Built, Compiler, Source


class BuildRecord(t.NamedTuple):
    """What an object was built from, kept beside it. `inputs`: SHA-256 of source and headers, by path."""

    arguments: t.Tuple[str, ...]
    compiler: Compiler
    version: str
    inputs: t.Dict[str, str]
    checksum: str


class Wanted(t.NamedTuple):
    """`content` None: the source is on the target already."""

    src: str
    dest: str
    content: t.Optional[bytes]
    arguments: t.Tuple[str, ...]
    compiler: Compiler
    force: bool


class Seen(t.NamedTuple):
    """What is on the target. `inputs` are hashed anew, of the files that the record names."""

    source: t.Optional[bytes]
    object: t.Optional[bytes]
    record: t.Optional[BuildRecord]
    inputs: t.Dict[str, t.Optional[str]]


class Plan(t.NamedTuple):
    """`reasons` to compile, none if the object is as it should be."""

    source: Source
    write_source: bool
    reasons: t.Tuple[str, ...]


def record_path(dest: str) -> str:
    return os.path.join(os.path.dirname(dest), f".{os.path.basename(dest)}.build.json")


def observe(src: str, dest: str) -> Seen:
    record = read_record(dest)
    inputs = {path: _checksum(path) for path in record.inputs if path != src} if record else {}
    return Seen(read_file(src), read_file(dest), record, inputs)


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Raises FleetError where there is no source."""
    content = seen.source if wanted.content is None else wanted.content
    if content is None:
        raise FleetError(f"there is no source {wanted.src} on this host; copy it there, or give its text as content")
    source = Source(wanted.src, content)
    reasons = tuple(_reasons(wanted, seen, source))
    return Plan(source, wanted.content is not None and wanted.content != seen.source, reasons)


def _reasons(wanted: Wanted, seen: Seen, source: Source) -> t.Iterator[str]:
    record = seen.record
    if wanted.force:
        yield "force is set"
    if seen.object is None:
        yield "there is no object yet"
        return
    if record is None:
        yield "there is no record of how the object was built"
        return
    if record.inputs.get(wanted.src) != sha256(source.content):
        yield "the source has changed"
    for path, checksum in seen.inputs.items():
        if checksum != record.inputs[path]:
            yield f"the header {path} has changed"
    if record.arguments != wanted.arguments:
        yield "the flags have changed"
    if record.compiler != wanted.compiler:
        yield "the compiler has changed"
    if record.checksum != sha256(seen.object):
        yield "the object was changed by another hand"


def record_of(wanted: Wanted, source: Source, built: Built, version: str) -> BuildRecord:
    inputs = {path: _checksum(path) or "" for path in built.headers}
    inputs[wanted.src] = sha256(source.content)
    return BuildRecord(wanted.arguments, wanted.compiler, version, inputs, sha256(built.content))


def read_record(dest: str) -> t.Optional[BuildRecord]:
    """None where there is none, or none that can be read: then the object is built again."""
    content = read_file(record_path(dest))
    try:
        fields = json.loads(content or b"")
        fields["inputs"] = dict(fields["inputs"])
        return BuildRecord(
            **{**fields, "arguments": tuple(fields["arguments"]), "compiler": Compiler(*fields["compiler"])}
        )
    except (ValueError, TypeError, KeyError):
        return None


def _checksum(path: str) -> t.Optional[str]:
    content = read_file(path)
    return None if content is None else sha256(content)

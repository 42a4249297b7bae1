# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe and plan for one object file: the core of bpf_object, and of the option `build` of xdp_program.

The plan compiles at once, in a temporary folder, in check mode too: only the result shows what would change. Applying
it means writing Build.files.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import os
import sys
import typing as t

from ..errors import FleetError
from ..state.files import sha256
from ..state.replacing import ReplacedFile
from ..state.trusted import Read, reader
from . import toolchain
from .elf import read_elf
from .object_file import Inspected, inspect, inspect_other
from .toolchain import Compiler, Source

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..libbpf.library import Libbpf
    from .clang import Built


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
    byte_order: str = sys.byteorder


class Seen(t.NamedTuple):
    """What is on the target. `inputs` are the current hashes of the files that the record names."""

    source: t.Optional[bytes]
    object: t.Optional[bytes]
    record: t.Optional[BuildRecord]
    inputs: t.Dict[str, t.Optional[str]]


class Plan(t.NamedTuple):
    """`reasons` to compile; none if the object is up to date."""

    source: Source
    reasons: t.Tuple[str, ...]


class Build(t.NamedTuple):
    """An object, compiled now or before. `files` are to be written if they differ: source, object and record."""

    wanted: Wanted
    seen: Seen
    plan: Plan
    record: BuildRecord
    inspected: Inspected
    files: t.Tuple[ReplacedFile, ...]

    @property
    def content(self) -> bytes:
        return self.inspected.image.content

    def steps(self, written: t.Iterable[ReplacedFile]) -> t.List[str]:
        """The changes, in words. A new record is not a change: a different compiler may produce the same object."""
        words = [f"write {each.path}" for each in written if each.path in (self.wanted.src, self.wanted.dest)]
        return [f"compile {self.wanted.src}", *words] if words and self.plan.reasons else words

    def facts(self) -> t.Dict[str, t.Any]:
        """As the modules return them."""
        return {
            "source_checksum": sha256(self.plan.source.content),
            "compiler": self.record.version,
            "reasons": list(self.plan.reasons),
            **self.inspected.facts(),
        }

    def diff(self) -> t.Dict[str, t.Any]:
        return {
            "before": _describe(self.seen.record, self.seen.object, self.seen.source),
            "after": _describe(self.record, self.content, self.plan.source.content),
        }


def check_paths(src: str, dest: str) -> None:
    """Raises FleetError if they cannot be those of a source and its object."""
    for path in (src, dest):
        if not os.path.isabs(path) or os.path.isdir(path):
            raise FleetError(
                f"{path} is not the absolute path of a file; give one for the source and one for the object"
            )
    if os.path.realpath(src) == os.path.realpath(dest):
        raise FleetError(
            f"source and object are both {dest}: the object would overwrite its source; give it a path of its own"
        )


def make_in_task(module: "AnsibleModule", lib: "Libbpf") -> t.Optional[Build]:
    """The object of an xdp_program task, by its options object, build and allow_unsafe_paths. Raises FleetError.

    None if the source does not exist yet, in check mode.
    """
    path, options = module.params["object"], module.params["build"]
    src = options["src"]
    check_paths(src, path)
    if module.check_mode and options["content"] is None and not os.path.exists(src):
        module.warn(f"there is no source {src} yet: check mode assumes that an earlier task puts it there")
        return None
    return make(module, lib, {**options, "dest": path, "force": False})


def make(module: "AnsibleModule", lib: "Libbpf", options: t.Mapping[str, t.Any]) -> Build:
    """`options`: those of bpf_object, with paths that check_paths() has accepted. Raises FleetError."""
    allow_unsafe = module.params["allow_unsafe_paths"]
    read = reader(allow_unsafe, toolchain.PURPOSE)
    module.run_command_environ_update = {"LC_ALL": "C"}  # clang's messages are searched for missing headers
    src, dest, text = options["src"], options["dest"], options["content"]
    byte_order = options.get("byte_order") or sys.byteorder
    wanted = Wanted(
        src=src,
        dest=dest,
        content=None if text is None else text.encode(),
        arguments=tuple(
            toolchain.arguments(
                options["defines"], options["cflags"], options["include_dirs"], options["cpu"], byte_order
            )
        ),
        compiler=toolchain.find_compiler(options["clang"], allow_unsafe),
        force=options["force"],
        byte_order=byte_order,
    )
    seen = observe(src, dest, read)
    planned = plan(wanted, seen)
    if planned.reasons or seen.record is None or seen.object is None:
        from .clang import compiled  # imported here, because a target compiles what it imports

        built = compiled(module, wanted.compiler, planned.source, wanted.arguments, byte_order)
        record, content = record_of(wanted, planned.source, built, read), built.content
    else:
        record, content = seen.record, seen.object
    given = [] if wanted.content is None else [ReplacedFile(module, src, wanted.content, read)]
    # The record last: without it, the object is built again.
    described = json.dumps(record._asdict(), indent=1).encode()
    record_file = ReplacedFile(module, record_path(dest), described, read)
    files = (*given, ReplacedFile(module, dest, content, read), record_file)
    return Build(wanted, seen, planned, record, _inspect(lib, wanted, content), files)


def _inspect(lib: "Libbpf", wanted: Wanted, content: bytes) -> Inspected:
    """Raises FleetError if the flags, which are the user's too, made an object for the other byte order."""
    found = read_elf(content, wanted.dest)
    if found.byte_order != wanted.byte_order:
        raise FleetError(
            f"the flags compile {wanted.src} for {found.byte_order}-endian hosts, and it is to be an object for"
            f" {wanted.byte_order}-endian ones: leave -target out of cflags, and give ebpf.fleet.bpf_object"
            f" byte_order: {found.byte_order} to compile for the others"
        )
    return inspect(lib, wanted.dest, content) if found.native else inspect_other(wanted.dest, content)


def _describe(
    record: t.Optional[BuildRecord], content: t.Optional[bytes], source: t.Optional[bytes]
) -> t.Dict[str, t.Any]:
    """One side of the diff."""
    return {
        "checksum": sha256(content) if content is not None else None,
        "source_checksum": sha256(source) if source is not None else None,
        "compiler": record.version if record else None,
        "arguments": list(record.arguments) if record else None,
    }


def record_path(dest: str) -> str:
    return os.path.join(os.path.dirname(dest), f".{os.path.basename(dest)}.build.json")


def observe(src: str, dest: str, read: Read) -> Seen:
    record = read_record(dest, read)
    inputs = {path: _checksum(read(path)) for path in record.inputs if path != src} if record else {}
    return Seen(read(src), read(dest), record, inputs)


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """Raises FleetError if there is no source."""
    content = seen.source if wanted.content is None else wanted.content
    if content is None:
        raise FleetError(f"there is no source {wanted.src} on this host; copy it there, or give its text as content")
    source = Source(wanted.src, content)
    reasons = tuple(_reasons(wanted, seen, source))
    return Plan(source, reasons)


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
        yield "the object was changed after it was built"


def record_of(wanted: Wanted, source: Source, built: "Built", read: Read) -> BuildRecord:
    """Raises FleetError if a header is not what clang read."""
    inputs = {path: sha256(_read_by_clang(path, source, built, read)) for path in built.headers}
    inputs[wanted.src] = sha256(source.content)
    return BuildRecord(wanted.arguments, wanted.compiler, built.version, inputs, sha256(built.content))


def _read_by_clang(header: str, source: Source, built: "Built", read: Read) -> bytes:
    """The content of a header, which was the same when the object was compiled."""
    content = read(header)
    # To change a file, rename it, or make another name for it, changes this time, which no user can set.
    if content is None or os.stat(header).st_ctime_ns >= built.begun_ns:
        raise FleetError(f"the header {header} was changed while {source.path} was compiled; run the task again")
    return content


def read_record(dest: str, read: Read) -> t.Optional[BuildRecord]:
    """None if there is none, or it is damaged: the object is then built again."""
    content = read(record_path(dest))
    try:
        fields = json.loads(content or b"")
        fields["inputs"] = dict(fields["inputs"])
        return BuildRecord(
            **{**fields, "arguments": tuple(fields["arguments"]), "compiler": Compiler(*fields["compiler"])}
        )
    except (ValueError, TypeError, KeyError):
        return None


def _checksum(content: t.Optional[bytes]) -> t.Optional[str]:
    return None if content is None else sha256(content)

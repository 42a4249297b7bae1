# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All programs in the kernel: what they are, where they are attached, and where they are pinned."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..attach.hooks import Links, hooks
from ..attach.interfaces import all_interfaces, printable
from ..errors import FleetError
from ..kernel import mounts, rtnetlink
from ..kernel.clock import loaded_at
from ..libbpf import info
from ..libbpf.info import LinkInfo, ProgramInfo
from ..libbpf.library import BpfError, Fd, Libbpf
from ..state.bpffs import reach
from ..state.places import BPFFS
from ..state.records import records
from ..state.trusted import is_trusted

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..libbpf.code import ProgramCode

Pins = t.Dict[t.Tuple[str, int], t.List[str]]  # paths by kind ('prog', 'link') and id


class Found(t.NamedTuple):
    """A program that was requested; `code` if it is to be dumped."""

    info: ProgramInfo
    name: str
    memlock: int
    code: t.Optional[ProgramCode]


class Attachment(t.NamedTuple):
    """Where a program is attached. `by` is 'link', 'netlink' or 'dispatcher'; `link_type` is that of the link.

    interface and mode are those of XDP; None where the interface is not in this network namespace. `dispatcher`: the
    slot in it, and the id of the program that it is.
    """

    by: str
    link_id: t.Optional[int]
    link_type: t.Optional[str]
    interface: t.Optional[str]
    ifindex: t.Optional[int]
    mode: t.Optional[str]
    pins: t.List[str]
    dispatcher: t.Optional[t.Dict[str, t.Any]] = None


class Surroundings(t.NamedTuple):
    """Attachments by the id of their program, and all pins."""

    attachments: t.Dict[int, t.List[Attachment]]
    pins: Pins


def programs(module: AnsibleModule, lib: Libbpf) -> t.Dict[str, t.Any]:
    """The result of bpf_program_info. Raises FleetError."""
    try:
        reach(BPFFS, lasting=False, make=False)
    except FleetError as error:  # all but the pins can be shown
        module.warn(str(error))
    around = surroundings(lib)
    found = list(_find(module, lib))
    result: t.Dict[str, t.Any] = {"programs": [_listed(each, around) for each in found]}
    objects = {
        each.program_id: {"path": each.deployed.object, "checksum": each.deployed.checksum} for each in records()
    }
    for program in result["programs"]:
        program["object"] = objects.get(program["id"])
    wanted = module.params["dump"]
    if wanted:
        from .dump import Dump, dump  # here: a target compiles what it imports

        dumps = [Dump(each.info, each.code) for each in found if each.code]
        tool, dumped = dump(module.run_command, dumps, wanted)
        for program, more in zip(result["programs"], dumped):
            program.update(more)
        if "jited" in wanted:
            result["disassembler"] = tool
    return result


def _find(module: AnsibleModule, lib: Libbpf) -> t.Iterator[Found]:
    """The requested programs. Each is read through one fd, so that it cannot disappear in between."""
    options = module.params
    if options["dump"]:
        from ..libbpf.code import program_code
    ids = None if options["id"] is None else set(options["id"])
    if options["pinned"] is not None:
        ids = {number for path in options["pinned"] for number in _pinned_programs(module, lib, path)}
    for opened in _all_programs(lib):
        with opened as fd:
            program = info.program_info(lib, fd)
            if ids is not None and program.id not in ids:
                continue
            if options["tag"] is not None and program.tag not in {tag.lower() for tag in options["tag"]}:
                continue
            name = full_name(lib, fd, program)
            if options["name"] is not None and not {name, program.name} & set(options["name"]):
                continue
            code = program_code(lib, fd) if options["dump"] else None
            yield Found(program, name, _locked_memory(fd), code)


def _pinned_programs(module: AnsibleModule, lib: Libbpf, path: str) -> t.List[int]:
    """The id of the program that is pinned at a path, or that is in the link pinned there; empty if nothing is."""
    if not os.path.isabs(path):
        raise FleetError(f"pinned: {path} is not an absolute path; pins are below {BPFFS}")
    if not os.path.lexists(path):
        module.warn(f"nothing is pinned at {path}")
        return []
    if not is_trusted(path):
        module.warn(f"users other than root can change what is pinned at {path}: it may be a different program")
    pin = what_is_pinned(lib, path)
    if pin is None:
        raise FleetError(f"{path} is not a pin of a BPF program or link; see `ls -R {BPFFS}`")
    kind, number = pin
    if kind == "prog":
        return [number]
    return [link.program_id for link in info.links(lib) if link.id == number]


def _listed(found: Found, around: Surroundings) -> t.Dict[str, t.Any]:
    program = found.info
    return {
        "id": program.id,
        "type": program.type,
        "name": found.name,
        "tag": program.tag,
        "gpl": program.gpl,
        "loaded_at": loaded_at(program.load_time),
        "uid": program.uid,
        "bytes_xlated": program.bytes_xlated,
        "bytes_jited": program.bytes_jited,
        "memlock": found.memlock,
        "map_ids": list(program.map_ids),
        "btf_id": program.btf_id or None,
        "run_time_ns": program.run_time_ns,
        "run_cnt": program.run_cnt,
        "pins": around.pins.get(("prog", program.id), []),
        "attachments": [each._asdict() for each in around.attachments.get(program.id, [])],
    }


def surroundings(lib: Libbpf) -> Surroundings:
    """Links of all kinds, and XDP by netlink on the interfaces of this network namespace.

    Without attachments that the kernel does not list by program: tc filters by netlink, and cgroups without a link.
    """
    pinned = pins_of_kernel(lib)
    links = Links(lib)
    found: t.Dict[int, t.List[Attachment]] = {}
    seen = set()
    for name, index in all_interfaces().items():
        with contextlib.suppress(BpfError):  # it disappeared meanwhile
            for hook in hooks(lib, rtnetlink.interface(index), links):
                attachment = Attachment("netlink", None, None, printable(name), index, hook.mode, [])
                for link in hook.link_ids:
                    seen.add(link)
                    by_link = attachment._replace(
                        by="link", link_id=link, link_type="xdp", pins=pinned.get(("link", link), [])
                    )
                    found.setdefault(hook.program.id, []).append(by_link)
                if not hook.link_ids:
                    found.setdefault(hook.program.id, []).append(attachment)
                for number, component in enumerate(hook.components):
                    slot = {key: value for key, value in component.data(number).items() if key not in ("name", "tag")}
                    inside = attachment._replace(by="dispatcher", dispatcher={**slot, "program_id": hook.program.id})
                    found.setdefault(component.program.id, []).append(inside)
    for each in links.every():
        if each.id not in seen and each.program_id:
            found.setdefault(each.program_id, []).append(_elsewhere(each, pinned))
    return Surroundings(found, pinned)


def _elsewhere(link: LinkInfo, pinned: Pins) -> Attachment:
    """A link of a different type, or whose interface is gone or in a different network namespace."""
    index = link.ifindex if link.type == "xdp" else None
    return Attachment("link", link.id, link.type, None, index, None, pinned.get(("link", link.id), []))


def pins_of_kernel(lib: Libbpf) -> Pins:
    """All pins of programs and links, in every bpffs of this mount namespace."""
    found: Pins = {}
    for mount in sorted({each.point for each in mounts.mounts(kind="bpf")}):
        for folder, _folders, files in os.walk(mount):
            for name in files:
                pin = what_is_pinned(lib, os.path.join(folder, name))
                if pin:
                    found.setdefault(pin, []).append(printable(os.path.join(folder, name)))
    return found


def what_is_pinned(lib: Libbpf, path: str) -> t.Optional[t.Tuple[str, int]]:
    """Kind ('prog' or 'link') and id; None if it is neither, or cannot be opened."""
    try:
        with lib.get(path) as fd:
            kind = lib.kind(fd)
            if kind == "prog":
                return kind, info.program_info(lib, fd).id
            if kind == "link":
                return kind, info.link_info(lib, fd).id
    except BpfError:
        pass
    return None


def full_name(lib: Libbpf, fd: int, program: ProgramInfo) -> str:
    """The kernel keeps 15 characters of a name; the program's own type information has the full name."""
    if len(program.name) < 15 or not program.btf_id:
        return program.name
    from ..libbpf.btf import read_btf  # here: a target compiles what it imports, and few names are so long
    from ..libbpf.code import program_code

    code = program_code(lib, fd)
    btf = read_btf(code.btf)
    complete = btf.function(code.functions[0].type_id) if btf and code.functions else ""
    return complete if complete.startswith(program.name) else program.name


def _all_programs(lib: Libbpf) -> t.Iterator[Fd]:
    """All programs in the kernel, each opened, except those that disappear meanwhile."""
    for number in lib.ids("prog"):
        try:
            yield lib.program_by_id(number)
        except BpfError as error:
            if error.errno != errno.ENOENT:
                raise


def _locked_memory(fd: int) -> int:
    """Bytes of kernel memory that a program or map uses; 0 if fdinfo does not say."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), 0)

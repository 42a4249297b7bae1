# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Information on the kernel's programs, maps and links, by id and by pin. include/uapi/linux/bpf.h"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import ctypes
import errno
import typing as t

from .kinds import LINK_TYPES, MAP_TYPES, PROGRAM_TYPES, MapShape, named
from .library import BpfError, Libbpf

T = t.TypeVar("T")


class ProgramInfo(t.NamedTuple):
    """A program in the kernel, from struct bpf_prog_info.

    load_time is in ns since boot; `name` has 15 characters at most; uid is that of the loader; btf_id is 0 without
    BTF; run_time_ns and run_cnt count while kernel.bpf_stats_enabled is set. ifindex is that of the network
    card it is offloaded to, else 0. Sizes in bytes; jited is 0 while the kernel interprets the program.
    """

    id: int
    type: str
    name: str
    tag: str
    load_time: int
    map_ids: t.Tuple[int, ...]
    gpl: bool = False
    uid: int = 0
    ifindex: int = 0
    btf_id: int = 0
    bytes_xlated: int = 0
    bytes_jited: int = 0
    run_time_ns: int = 0
    run_cnt: int = 0


class MapInfo(t.NamedTuple):
    """A map in the kernel. `name` has 15 characters at most. btf_id is 0 without BTF; the types are numbers in it."""

    id: int
    name: str
    shape: MapShape
    btf_id: int = 0
    key_type: int = 0
    value_type: int = 0


class LinkInfo(t.NamedTuple):
    """A BPF link. ifindex is that of an XDP link; 0 once the interface is gone or the link is detached."""

    id: int
    type: str
    program_id: int
    ifindex: int


class ProgInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("gpl_compatible", ctypes.c_uint32, 1),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("nr_jited_ksyms", ctypes.c_uint32),
        ("nr_jited_func_lens", ctypes.c_uint32),
        ("jited_ksyms", ctypes.c_uint64),
        ("jited_func_lens", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("nr_func_info", ctypes.c_uint32),
        ("nr_line_info", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("jited_line_info", ctypes.c_uint64),
        ("nr_jited_line_info", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("jited_line_info_rec_size", ctypes.c_uint32),
        ("nr_prog_tags", ctypes.c_uint32),
        ("prog_tags", ctypes.c_uint64),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
    ]


class _MapInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_id", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),  # 0 before kernel 5.16
    ]


class _LinkInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 44),
    ]


def program_info(lib: Libbpf, fd: int) -> ProgramInfo:
    info = ProgInfo()
    lib.read_info(fd, info)
    maps = (ctypes.c_uint32 * info.nr_map_ids)()
    again = ProgInfo(nr_map_ids=info.nr_map_ids, map_ids=ctypes.addressof(maps))
    lib.read_info(fd, again)
    return ProgramInfo(
        id=info.id,
        type=named(PROGRAM_TYPES, info.type),
        name=info.name.decode(errors="replace"),
        tag=bytes(info.tag).hex(),
        load_time=info.load_time,
        map_ids=tuple(maps),
        gpl=bool(info.gpl_compatible),
        uid=info.created_by_uid,
        ifindex=info.ifindex,
        btf_id=info.btf_id,
        bytes_xlated=info.xlated_prog_len,
        bytes_jited=info.jited_prog_len,
        run_time_ns=info.run_time_ns,
        run_cnt=info.run_cnt,
    )


def map_info(lib: Libbpf, fd: int) -> MapInfo:
    info = _MapInfo()
    lib.read_info(fd, info)
    return MapInfo(
        id=info.id,
        name=info.name.decode(errors="replace"),
        shape=MapShape(
            type=named(MAP_TYPES, info.type),
            key_size=info.key_size,
            value_size=info.value_size,
            max_entries=info.max_entries,
            flags=info.map_flags,
            extra=info.map_extra,
        ),
        btf_id=info.btf_id,
        key_type=info.btf_key_type_id,
        value_type=info.btf_value_type_id,
    )


def link_info(lib: Libbpf, fd: int) -> LinkInfo:
    info = _LinkInfo()
    lib.read_info(fd, info)
    kind = named(LINK_TYPES, info.type)
    return LinkInfo(info.id, kind, info.prog_id, info.ifindex if kind == "xdp" else 0)


def links(lib: Libbpf) -> t.Iterator[LinkInfo]:
    """All links in the kernel, except those that disappear meanwhile or are still being created (EAGAIN)."""
    for number in lib.ids("link"):
        try:
            with lib.link_by_id(number) as fd:
                yield link_info(lib, fd)
        except BpfError as error:
            if error.errno not in (errno.ENOENT, errno.EAGAIN):
                raise


def read_pin(lib: Libbpf, path: str, kind: str, read: t.Callable[[Libbpf, int], T]) -> t.Optional[T]:
    """What `read` returns for the pin's file descriptor; None if there is no pin, or one of a different kind.

    `kind`: 'link', 'prog' or 'map'.
    """
    try:
        with lib.get(path) as fd:
            return read(lib, fd) if lib.kind(fd) == kind else None
    except BpfError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise

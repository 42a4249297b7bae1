# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's BPF objects through libbpf.so.1, by ctypes. Knows nothing of Ansible.

Structures follow include/uapi/linux/bpf.h, calls follow libbpf's bpf.h and libbpf.h.
A call that fails raises BpfError with the kernel's errno; whatever is opened here is a
context manager and closes itself.

This file has what it takes to look: programs, maps and links, by pin and by id, and what is on
an interface. What takes more has a file of its own beside it, because a target compiles anew, in
each task, all that the task imports.
"""

# No annotations from __future__: with them each NamedTuple takes a target twice as long to make.
import ctypes
import errno
import os
import typing as t

SONAME = "libbpf.so.1"

PROGRAM_TYPES = (
    "unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb"
    " cgroup_sock lwt_in lwt_out lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint"
    " cgroup_sock_addr lwt_seg6local lirc_mode2 sk_reuseport flow_dissector cgroup_sysctl"
    " raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm sk_lookup syscall"
    " netfilter"
).split()

LINK_TYPES = (
    "unspec raw_tracepoint tracing cgroup iter netns xdp perf_event kprobe_multi struct_ops netfilter"
    " tcx uprobe_multi netkit sockmap"
).split()

MAP_TYPES = (
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace"
    " cgroup_array lru_hash lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap"
    " cpumap xskmap sockhash cgroup_storage reuseport_sockarray percpu_cgroup_storage queue stack"
    " sk_storage devmap_hash struct_ops ringbuf inode_storage task_storage bloom_filter"
    " user_ringbuf cgrp_storage arena insn_array"
).split()


class LibbpfMissing(Exception):
    """libbpf.so.1 cannot be loaded; the text says why, as the dynamic loader put it."""


class BpfError(OSError):
    """A call into libbpf failed. `log` holds libbpf's and the verifier's own words, if any."""

    def __init__(self, number: int, action: str, log: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.action = action
        self.log = log

    def __str__(self) -> str:
        return f"{self.action}: {self.strerror}"


class ProgramInfo(t.NamedTuple):
    """A program in the kernel, as struct bpf_prog_info has it.

    load_time is in ns since boot; `name` has 15 characters at most; uid is the loader's; btf_id is 0 without
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


class MapShape(t.NamedTuple):
    """What must agree for one map to stand in for another. Sizes in bytes."""

    type: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    def __str__(self) -> str:
        flags = f", flags 0x{self.flags:x}" if self.flags else ""
        return f"{self.type}, key {self.key_size} B, value {self.value_size} B, {self.max_entries} entries{flags}"


class MapInfo(t.NamedTuple):
    """A map in the kernel. `name` has 15 characters at most."""

    id: int
    name: str
    shape: MapShape


class LinkInfo(t.NamedTuple):
    """A BPF link. ifindex is that of an XDP link, 0 once its interface is gone or it was detached."""

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


_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

HANDLE = ctypes.c_void_p
U32 = ctypes.c_uint32
INT = ctypes.c_int
TEXT = ctypes.c_char_p
POINTER = ctypes.c_void_p

# By name: result, arguments, checked. A checked int is negative, a checked pointer NULL, on failure.
Functions = t.Mapping[str, t.Tuple[t.Any, t.Tuple[t.Any, ...], bool]]

_FUNCTIONS: Functions = {
    "libbpf_version_string": (TEXT, (), False),
    "libbpf_set_print": (POINTER, (_PRINT,), False),
    "libbpf_num_possible_cpus": (INT, (), True),
    "bpf_obj_pin": (INT, (INT, TEXT), True),
    "bpf_obj_get": (INT, (TEXT,), True),
    "bpf_obj_get_info_by_fd": (INT, (INT, POINTER, POINTER), True),
    "bpf_prog_get_fd_by_id": (INT, (U32,), True),
    "bpf_map_get_fd_by_id": (INT, (U32,), True),
    "bpf_link_get_fd_by_id": (INT, (U32,), True),
    "bpf_link_get_next_id": (INT, (U32, POINTER), True),
    "bpf_prog_get_next_id": (INT, (U32, POINTER), True),
    "bpf_map_lookup_elem": (INT, (INT, POINTER, POINTER), True),
    "bpf_map_update_elem": (INT, (INT, POINTER, POINTER, ctypes.c_uint64), True),
}


def _check(result: t.Any, function: t.Any, arguments: t.Any) -> t.Any:
    if result is None or (isinstance(result, int) and result < 0):
        number = ctypes.get_errno() or (-result if isinstance(result, int) else errno.EINVAL)
        raise BpfError(number, function.__name__)
    return result


class Fd:
    """A file descriptor that is closed with its context."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *exception: t.Any) -> None:
        os.close(self.number)


class Libbpf:
    """libbpf.so.1. Raises LibbpfMissing where there is none, or one without a call that we need."""

    def __init__(self) -> None:
        try:
            self.c = ctypes.CDLL(SONAME, use_errno=True)
        except OSError as error:
            raise LibbpfMissing(str(error)) from error
        self.declare(_FUNCTIONS)
        self.messages: t.List[str] = []
        self._libc = ctypes.CDLL(None)
        self._print = _PRINT(self._collect)  # kept: libbpf calls it for as long as we live
        self.c.libbpf_set_print(self._print)

    def declare(self, functions: Functions) -> ctypes.CDLL:
        """Tell ctypes how to call these; returns the library."""
        try:
            for name, (result, arguments, checked) in functions.items():
                function = getattr(self.c, name)
                function.restype = result
                function.argtypes = arguments
                if checked:
                    function.errcheck = _check
        except AttributeError as error:
            raise LibbpfMissing(str(error)) from error
        return self.c

    def _collect(self, level: int, text: bytes, values: t.Any) -> int:
        if level == 0:  # LIBBPF_WARN
            line = ctypes.create_string_buffer(4096)
            self._libc.vsnprintf(line, ctypes.c_size_t(len(line)), text, ctypes.c_void_p(values))
            self.messages.append(line.value.decode(errors="replace"))
        return 0

    def said(self) -> str:
        """What libbpf has complained of since `messages` was cleared, without its own prefix."""
        return "".join(self.messages).replace("libbpf: ", "").strip()

    @property
    def version(self) -> str:
        return t.cast(bytes, self.c.libbpf_version_string()).decode(errors="replace").lstrip("v")

    def possible_cpus(self) -> int:
        return t.cast(int, self.c.libbpf_num_possible_cpus())

    # Pins and ids

    def pin(self, fd: int, path: str) -> None:
        self.c.bpf_obj_pin(fd, path.encode())

    def get(self, path: str) -> Fd:
        """Open a pin."""
        return Fd(self.c.bpf_obj_get(path.encode()))

    @staticmethod
    def kind(fd: int) -> str:
        """'link', 'prog' or 'map': what a pin turned out to be."""
        return os.readlink(f"/proc/self/fd/{fd}").strip("[]").rsplit("bpf", 1)[-1].strip("-_]")

    def program_by_id(self, number: int) -> Fd:
        return Fd(self.c.bpf_prog_get_fd_by_id(number))

    def map_by_id(self, number: int) -> Fd:
        return Fd(self.c.bpf_map_get_fd_by_id(number))

    def link_by_id(self, number: int) -> Fd:
        return Fd(self.c.bpf_link_get_fd_by_id(number))

    def _ids(self, kind: str) -> t.Iterator[int]:
        following = getattr(self.c, f"bpf_{kind}_get_next_id")
        number = ctypes.c_uint32(0)
        while True:
            try:
                following(number, ctypes.byref(number))
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield number.value

    def links(self) -> t.Iterator[LinkInfo]:
        """All links of the kernel, but those that go away meanwhile, or are still being made (EAGAIN)."""
        for number in self._ids("link"):
            try:
                with self.link_by_id(number) as fd:
                    yield self.link_info(fd)
            except BpfError as error:
                if error.errno not in (errno.ENOENT, errno.EAGAIN):
                    raise

    def programs(self) -> t.Iterator[Fd]:
        """All programs of the kernel, each open, but those that go away meanwhile."""
        for number in self._ids("prog"):
            try:
                yield self.program_by_id(number)
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise

    def read_info(self, fd: int, info: ctypes.Structure) -> None:
        """Fill in the structure that belongs to what fd is: BPF_OBJ_GET_INFO_BY_FD."""
        size = ctypes.c_uint32(ctypes.sizeof(info))
        self.c.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))

    def program_info(self, fd: int) -> ProgramInfo:
        info = ProgInfo()
        self.read_info(fd, info)
        maps = (ctypes.c_uint32 * info.nr_map_ids)()
        again = ProgInfo(nr_map_ids=info.nr_map_ids, map_ids=ctypes.addressof(maps))
        self.read_info(fd, again)
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

    @staticmethod
    def locked_memory(fd: int) -> int:
        """Bytes of kernel memory that a program or map is charged with; 0 where fdinfo does not tell."""
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), 0)

    def map_info(self, fd: int) -> MapInfo:
        info = _MapInfo()
        self.read_info(fd, info)
        return MapInfo(
            id=info.id,
            name=info.name.decode(errors="replace"),
            shape=MapShape(
                type=named(MAP_TYPES, info.type),
                key_size=info.key_size,
                value_size=info.value_size,
                max_entries=info.max_entries,
                flags=info.map_flags,
            ),
        )

    def link_info(self, fd: int) -> LinkInfo:
        info = _LinkInfo()
        self.read_info(fd, info)
        kind = named(LINK_TYPES, info.type)
        return LinkInfo(info.id, kind, info.prog_id, info.ifindex if kind == "xdp" else 0)

    # Map elements, as bytes

    def lookup(self, map_fd: int, key: bytes, value_size: int) -> bytes:
        value = ctypes.create_string_buffer(value_size)
        self.c.bpf_map_lookup_elem(map_fd, ctypes.create_string_buffer(key, len(key)), value)
        return value.raw

    def update(self, map_fd: int, key: bytes, value: bytes) -> None:
        self.c.bpf_map_update_elem(
            map_fd,
            ctypes.create_string_buffer(key, len(key)),
            ctypes.create_string_buffer(value, len(value)),
            0,
        )


def named(names: t.Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"type_{number}"

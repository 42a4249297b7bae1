# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's BPF objects through libbpf.so.1, by ctypes. Knows nothing of Ansible.

Structures follow include/uapi/linux/bpf.h, calls follow libbpf's bpf.h and libbpf.h.
A call that fails raises BpfError with the kernel's errno; whatever is opened here is a
context manager and closes itself.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import typing as t

SONAME = "libbpf.so.1"

BPF_PROG_TYPE_XDP = 6
BPF_MAP_TYPE_PROG_ARRAY = 3
BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4
BPF_MAP_TYPE_RINGBUF = 27
BPF_XDP = 37

BPF_F_REPLACE = 1 << 2
BPF_F_XDP_HAS_FRAGS = 1 << 5
BPF_F_RDONLY_PROG = 1 << 7

# if_link.h: XDP_FLAGS_*_MODE, XDP_FLAGS_REPLACE, and enum XDP_ATTACHED_*
XDP_FLAGS = {"generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}
XDP_FLAGS_REPLACE = 1 << 4

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


class LineInfo(t.NamedTuple):
    """The source line that starts at an instruction: struct bpf_line_info. `text` is an offset into BTF's strings."""

    instruction: int
    text: int


class FunctionInfo(t.NamedTuple):
    """The function that starts at an instruction: struct bpf_func_info. `type_id` is that of its BTF."""

    instruction: int
    type_id: int


class ProgramCode(t.NamedTuple):
    """What the kernel gives out of a program's code; empty where it withholds it.

    xlated has 8 bytes an instruction. The native code of all functions is one after the other in jited:
    `jited_lengths` tells them apart, `jited_addresses` where each lies in the kernel. jited_lines are the
    addresses that `lines` came to, one each. btf is the program's own type information, as it was loaded.
    """

    xlated: bytes
    jited: bytes
    jited_addresses: t.Tuple[int, ...]
    jited_lengths: t.Tuple[int, ...]
    functions: t.Tuple[FunctionInfo, ...]
    lines: t.Tuple[LineInfo, ...]
    jited_lines: t.Tuple[int, ...]
    btf: bytes


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


class ObjectProgram(t.NamedTuple):
    """A program in an object file; `autoload` is false for a section marked with '?'."""

    name: str
    section: str
    instructions: int
    xdp: bool
    autoload: bool


class ObjectMap(t.NamedTuple):
    """A map in an object file; `internal` are those of global data (.bss, .data, .rodata)."""

    name: str
    shape: MapShape
    internal: bool


class _ProgInfo(ctypes.Structure):
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


class _BtfInfo(ctypes.Structure):
    _fields_ = [
        ("btf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
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


class _OpenOpts(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("pad", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_void_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", ctypes.c_uint32),
    ]


class _LinkCreateOpts(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("pad", ctypes.c_uint32)]


class _LinkUpdateOpts(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
    ]


class _XdpAttachOpts(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("old_prog_fd", ctypes.c_int), ("pad", ctypes.c_int)]


class _XdpQueryOpts(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("prog_id", ctypes.c_uint32),
        ("drv_prog_id", ctypes.c_uint32),
        ("hw_prog_id", ctypes.c_uint32),
        ("skb_prog_id", ctypes.c_uint32),
        ("attach_mode", ctypes.c_uint8),
    ]


class _ProgLoadOpts(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    ]


class _TestRunOpts(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

_HANDLE = ctypes.c_void_p
_U32 = ctypes.c_uint32
_INT = ctypes.c_int
_TEXT = ctypes.c_char_p
_POINTER = ctypes.c_void_p

# name: (result, arguments, checked). A checked int is negative, a checked pointer NULL, on failure.
_FUNCTIONS: t.Dict[str, t.Tuple[t.Any, t.Tuple[t.Any, ...], bool]] = {
    "libbpf_version_string": (_TEXT, (), False),
    "libbpf_set_print": (_POINTER, (_PRINT,), False),
    "libbpf_num_possible_cpus": (_INT, (), True),
    "bpf_object__open_mem": (_HANDLE, (_POINTER, ctypes.c_size_t, _POINTER), True),
    "bpf_object__load": (_INT, (_HANDLE,), True),
    "bpf_object__close": (None, (_HANDLE,), False),
    "bpf_object__btf_fd": (_INT, (_HANDLE,), False),
    "bpf_object__btf": (_HANDLE, (_HANDLE,), False),
    "bpf_object__next_program": (_HANDLE, (_HANDLE, _HANDLE), False),
    "bpf_object__next_map": (_HANDLE, (_HANDLE, _HANDLE), False),
    "bpf_program__name": (_TEXT, (_HANDLE,), False),
    "bpf_program__section_name": (_TEXT, (_HANDLE,), False),
    "bpf_program__insn_cnt": (ctypes.c_size_t, (_HANDLE,), False),
    "bpf_program__type": (_INT, (_HANDLE,), False),
    "bpf_program__autoload": (ctypes.c_bool, (_HANDLE,), False),
    "bpf_program__set_autoload": (_INT, (_HANDLE, ctypes.c_bool), True),
    "bpf_program__set_ifindex": (None, (_HANDLE, _U32), False),
    "bpf_program__fd": (_INT, (_HANDLE,), True),
    "bpf_map__name": (_TEXT, (_HANDLE,), False),
    "bpf_map__type": (_INT, (_HANDLE,), False),
    "bpf_map__key_size": (_U32, (_HANDLE,), False),
    "bpf_map__value_size": (_U32, (_HANDLE,), False),
    "bpf_map__max_entries": (_U32, (_HANDLE,), False),
    "bpf_map__map_flags": (_U32, (_HANDLE,), False),
    "bpf_map__is_internal": (ctypes.c_bool, (_HANDLE,), False),
    "bpf_map__set_ifindex": (_INT, (_HANDLE, _U32), True),
    "bpf_map__set_pin_path": (_INT, (_HANDLE, _TEXT), True),
    "bpf_map__reuse_fd": (_INT, (_HANDLE, _INT), True),
    "bpf_map__fd": (_INT, (_HANDLE,), True),
    "bpf_obj_pin": (_INT, (_INT, _TEXT), True),
    "bpf_obj_get": (_INT, (_TEXT,), True),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _POINTER, _POINTER), True),
    "bpf_prog_get_fd_by_id": (_INT, (_U32,), True),
    "bpf_map_get_fd_by_id": (_INT, (_U32,), True),
    "bpf_link_get_fd_by_id": (_INT, (_U32,), True),
    "bpf_btf_get_fd_by_id": (_INT, (_U32,), True),
    "bpf_link_get_next_id": (_INT, (_U32, _POINTER), True),
    "bpf_prog_get_next_id": (_INT, (_U32, _POINTER), True),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _POINTER), True),
    "bpf_link_update": (_INT, (_INT, _INT, _POINTER), True),
    "bpf_link_detach": (_INT, (_INT,), True),
    "bpf_map_lookup_elem": (_INT, (_INT, _POINTER, _POINTER), True),
    "bpf_map_update_elem": (_INT, (_INT, _POINTER, _POINTER, ctypes.c_uint64), True),
    "bpf_xdp_query": (_INT, (_INT, _INT, _POINTER), True),
    "bpf_xdp_attach": (_INT, (_INT, _INT, _U32, _POINTER), True),
    "bpf_prog_load": (_INT, (_INT, _TEXT, _TEXT, _POINTER, ctypes.c_size_t, _POINTER), True),
    "bpf_prog_test_run_opts": (_INT, (_INT, _POINTER), True),
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


class Object:
    """An object file that libbpf has opened; closed with its context."""

    def __init__(self, lib: Libbpf, handle: t.Any, keep: t.Any, log: t.Any) -> None:
        self._lib = lib
        self._c = lib.c
        self._handle = handle
        self._keep = keep  # libbpf reads the ELF image until the object is closed
        self._log = log

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._c.bpf_object__close(self._handle)

    def _each(self, kind: str) -> t.Iterator[t.Any]:
        following = getattr(self._c, f"bpf_object__next_{kind}")
        handle = following(self._handle, None)
        while handle:
            yield handle
            handle = following(self._handle, handle)

    def _find(self, kind: str, name: str) -> t.Any:
        read_name = getattr(self._c, "bpf_program__name" if kind == "program" else "bpf_map__name")
        return next(handle for handle in self._each(kind) if read_name(handle).decode(errors="replace") == name)

    @property
    def has_btf(self) -> bool:
        return bool(self._c.bpf_object__btf(self._handle))

    @property
    def programs(self) -> t.Tuple[ObjectProgram, ...]:
        c = self._c
        return tuple(
            ObjectProgram(
                name=c.bpf_program__name(p).decode(errors="replace"),
                section=c.bpf_program__section_name(p).decode(errors="replace"),
                instructions=c.bpf_program__insn_cnt(p),
                xdp=c.bpf_program__type(p) == BPF_PROG_TYPE_XDP,
                autoload=c.bpf_program__autoload(p),
            )
            for p in self._each("program")
        )

    @property
    def maps(self) -> t.Tuple[ObjectMap, ...]:
        c = self._c
        return tuple(
            ObjectMap(
                name=c.bpf_map__name(m).decode(errors="replace"),
                shape=MapShape(
                    type=_named(MAP_TYPES, c.bpf_map__type(m)),
                    key_size=c.bpf_map__key_size(m),
                    value_size=c.bpf_map__value_size(m),
                    max_entries=c.bpf_map__max_entries(m),
                    flags=c.bpf_map__map_flags(m),
                ),
                internal=c.bpf_map__is_internal(m),
            )
            for m in self._each("map")
        )

    def load(self, programs: t.Container[str], reuse: t.Mapping[str, int], ifindex: int = 0) -> None:
        """Load `programs` and no others; `reuse` gives fds of maps to take instead of new ones.

        ifindex is that of the interface to offload to, else 0. Raises BpfError with the log.
        """
        c = self._c
        for program in self._each("program"):
            c.bpf_program__set_autoload(program, c.bpf_program__name(program).decode(errors="replace") in programs)
            if ifindex:
                c.bpf_program__set_ifindex(program, ifindex)
        for bpf_map in self._each("map"):
            # Pins are ours to make; an object that names its own would share maps across interfaces.
            c.bpf_map__set_pin_path(bpf_map, None)
            fd = reuse.get(c.bpf_map__name(bpf_map).decode(errors="replace"))
            if fd is not None:
                c.bpf_map__reuse_fd(bpf_map, fd)
            elif ifindex:
                c.bpf_map__set_ifindex(bpf_map, ifindex)
        self._lib.messages.clear()
        try:
            c.bpf_object__load(self._handle)
        except BpfError as error:
            verifier = ctypes.string_at(self._log).decode(errors="replace")
            error.log = verifier.strip() or self._lib.said()
            raise

    def program_fd(self, name: str) -> int:
        """The fd of a loaded program, which the object owns."""
        return t.cast(int, self._c.bpf_program__fd(self._find("program", name)))

    def map_fd(self, name: str) -> int:
        """The fd of a map of a loaded object, which the object owns."""
        return t.cast(int, self._c.bpf_map__fd(self._find("map", name)))


class Libbpf:
    """libbpf.so.1. Raises LibbpfMissing where there is none, or one without a call that we need."""

    LOG_SIZE = 16 * 1024 * 1024  # the verifier's own maximum; pages that it does not fill cost nothing

    def __init__(self) -> None:
        try:
            self.c = ctypes.CDLL(SONAME, use_errno=True)
            for name, (result, arguments, checked) in _FUNCTIONS.items():
                function = getattr(self.c, name)
                function.restype = result
                function.argtypes = arguments
                if checked:
                    function.errcheck = _check
        except (OSError, AttributeError) as error:
            raise LibbpfMissing(str(error)) from error
        self.messages: t.List[str] = []
        self._libc = ctypes.CDLL(None)
        self._print = _PRINT(self._collect)  # kept: libbpf calls it for as long as we live
        self.c.libbpf_set_print(self._print)

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

    def open(self, image: bytes, name: str) -> Object:
        """Open an ELF image; `name` takes the place of its file name. Loads nothing."""
        log = (ctypes.c_char * self.LOG_SIZE).from_buffer(mmap.mmap(-1, self.LOG_SIZE))
        options = _OpenOpts(
            object_name=name.encode(),
            kernel_log_buf=ctypes.addressof(log),
            kernel_log_size=len(log),
        )
        options.sz = ctypes.sizeof(options)
        buffer = ctypes.create_string_buffer(image, len(image))
        self.messages.clear()
        try:
            handle = self.c.bpf_object__open_mem(buffer, len(image), ctypes.byref(options))
        except BpfError as error:
            error.log = self.said()
            raise
        return Object(self, handle, buffer, log)

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

    def _info(self, fd: int, info: ctypes.Structure) -> None:
        size = ctypes.c_uint32(ctypes.sizeof(info))
        self.c.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))

    def program_info(self, fd: int) -> ProgramInfo:
        info = _ProgInfo()
        self._info(fd, info)
        maps = (ctypes.c_uint32 * info.nr_map_ids)()
        again = _ProgInfo(nr_map_ids=info.nr_map_ids, map_ids=ctypes.addressof(maps))
        self._info(fd, again)
        return ProgramInfo(
            id=info.id,
            type=_named(PROGRAM_TYPES, info.type),
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

    def program_code(self, fd: int) -> ProgramCode:
        """The code of a program, translated and native, and what it takes to read it."""
        sizes = _ProgInfo()
        self._info(fd, sizes)
        info = _ProgInfo(func_info_rec_size=8, line_info_rec_size=16, jited_line_info_rec_size=8)
        room = {}
        for pointer, count, unit in (
            ("xlated_prog_insns", "xlated_prog_len", 1),
            ("jited_prog_insns", "jited_prog_len", 1),
            ("jited_ksyms", "nr_jited_ksyms", 8),
            ("jited_func_lens", "nr_jited_func_lens", 4),
            ("func_info", "nr_func_info", 8),
            ("line_info", "nr_line_info", 16),
            ("jited_line_info", "nr_jited_line_info", 8),
        ):
            number = getattr(sizes, count)
            room[pointer] = ctypes.create_string_buffer(number * unit)
            setattr(info, count, number)
            setattr(info, pointer, ctypes.addressof(room[pointer]) if number else 0)
        self._info(fd, info)
        # A pointer that the kernel has set to 0 says that it withholds what would have been there.
        found = {pointer: each.raw if getattr(info, pointer) else b"" for pointer, each in room.items()}
        return ProgramCode(
            xlated=found["xlated_prog_insns"],
            jited=found["jited_prog_insns"],
            jited_addresses=tuple(number for (number,) in struct.iter_unpack("=Q", found["jited_ksyms"])),
            jited_lengths=tuple(number for (number,) in struct.iter_unpack("=I", found["jited_func_lens"])),
            functions=tuple(FunctionInfo(*each) for each in struct.iter_unpack("=II", found["func_info"])),
            lines=tuple(LineInfo(*each) for each in struct.iter_unpack("=I4xI4x", found["line_info"])),
            jited_lines=tuple(number for (number,) in struct.iter_unpack("=Q", found["jited_line_info"])),
            btf=self._btf(info.btf_id) if info.btf_id else b"",
        )

    def _btf(self, number: int) -> bytes:
        """Type information by id; a program holds its own, so it is there as long as the program is open."""
        with Fd(self.c.bpf_btf_get_fd_by_id(number)) as fd:
            sizes = _BtfInfo()
            self._info(fd, sizes)
            data = ctypes.create_string_buffer(sizes.btf_size)
            self._info(fd, _BtfInfo(btf=ctypes.addressof(data), btf_size=sizes.btf_size))
        return data.raw

    @staticmethod
    def locked_memory(fd: int) -> int:
        """Bytes of kernel memory that a program or map is charged with; 0 where fdinfo does not tell."""
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), 0)

    def map_info(self, fd: int) -> MapInfo:
        info = _MapInfo()
        self._info(fd, info)
        return MapInfo(
            id=info.id,
            name=info.name.decode(errors="replace"),
            shape=MapShape(
                type=_named(MAP_TYPES, info.type),
                key_size=info.key_size,
                value_size=info.value_size,
                max_entries=info.max_entries,
                flags=info.map_flags,
            ),
        )

    def link_info(self, fd: int) -> LinkInfo:
        info = _LinkInfo()
        self._info(fd, info)
        kind = _named(LINK_TYPES, info.type)
        return LinkInfo(info.id, kind, info.prog_id, info.ifindex if kind == "xdp" else 0)

    # XDP

    def xdp_programs(self, ifindex: int) -> t.Dict[str, int]:
        """Program ids by mode ('native', 'generic', 'offload') on an interface of this netns."""
        options = _XdpQueryOpts()
        options.sz = ctypes.sizeof(options)
        self.c.bpf_xdp_query(ifindex, 0, ctypes.byref(options))
        ids = {
            "native": options.drv_prog_id,
            "generic": options.skb_prog_id,
            "offload": options.hw_prog_id,
        }
        return {mode: number for mode, number in ids.items() if number}

    def link_create(self, program_fd: int, ifindex: int, mode: str) -> Fd:
        options = _LinkCreateOpts(flags=XDP_FLAGS[mode])
        options.sz = ctypes.sizeof(options)
        return Fd(self.c.bpf_link_create(program_fd, ifindex, BPF_XDP, ctypes.byref(options)))

    def link_update(self, link_fd: int, program_fd: int, old_program_fd: int) -> None:
        """Swap the program of a link, only if it is still the old one that is in it."""
        options = _LinkUpdateOpts(flags=BPF_F_REPLACE, old_prog_fd=old_program_fd)
        options.sz = ctypes.sizeof(options)
        self.c.bpf_link_update(link_fd, program_fd, ctypes.byref(options))

    def link_detach(self, link_fd: int) -> None:
        self.c.bpf_link_detach(link_fd)

    def netlink_replace(self, ifindex: int, program_fd: int, old_program_fd: int, mode: str) -> None:
        """Attach (-1: detach) by netlink, only if the old program (-1: none) is in place."""
        options = _XdpAttachOpts(old_prog_fd=old_program_fd)
        options.sz = ctypes.sizeof(options)
        self.c.bpf_xdp_attach(ifindex, program_fd, XDP_FLAGS[mode] | XDP_FLAGS_REPLACE, ctypes.byref(options))

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

    # Running programs without an interface

    def load_instructions(self, instructions: bytes, flags: int = 0) -> Fd:
        """Load raw XDP instructions, to ask the kernel what it can do."""
        options = _ProgLoadOpts(expected_attach_type=BPF_XDP, prog_flags=flags)
        options.sz = ctypes.sizeof(options)
        code = ctypes.create_string_buffer(instructions, len(instructions))
        return Fd(
            self.c.bpf_prog_load(
                BPF_PROG_TYPE_XDP,
                b"ebpf_fleet_ask",
                b"GPL",
                code,
                len(instructions) // 8,
                ctypes.byref(options),
            )
        )

    def test_run(self, program_fd: int, packet: bytes, repeat: int = 1, flags: int = 0) -> int:
        """Run a program on a packet; returns the XDP action. BPF_PROG_TEST_RUN."""
        options = _TestRunOpts(data_in=packet, data_size_in=len(packet), repeat=repeat, flags=flags)
        options.sz = ctypes.sizeof(options)
        self.c.bpf_prog_test_run_opts(program_fd, ctypes.byref(options))
        return t.cast(int, options.retval)


def _named(names: t.Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"type_{number}"

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open, inspect and load object files. libbpf.h."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import ctypes
import errno
import mmap
import typing as t

from .kinds import MAP_TYPES, PROGRAM_TYPES, MapShape, named
from .library import HANDLE, INT, POINTER, TEXT, U32, BpfError, Functions, Libbpf

BPF_XDP_OF_MAPS = (33, 35)  # BPF_XDP_DEVMAP, BPF_XDP_CPUMAP
BPF_F_XDP_HAS_FRAGS = 1 << 5
LOG_SIZE = 16 * 1024 * 1024  # the verifier's own maximum; pages that it does not fill cost nothing

_FUNCTIONS: Functions = {
    "bpf_object__open_mem": (HANDLE, (POINTER, ctypes.c_size_t, POINTER), True),
    "bpf_object__load": (INT, (HANDLE,), True),
    "bpf_object__close": (None, (HANDLE,), False),
    "bpf_object__btf_fd": (INT, (HANDLE,), False),
    "bpf_object__btf": (HANDLE, (HANDLE,), False),
    "btf__raw_data": (POINTER, (HANDLE, POINTER), False),
    "bpf_object__next_program": (HANDLE, (HANDLE, HANDLE), False),
    "bpf_object__next_map": (HANDLE, (HANDLE, HANDLE), False),
    "bpf_program__name": (TEXT, (HANDLE,), False),
    "bpf_program__section_name": (TEXT, (HANDLE,), False),
    "bpf_program__insn_cnt": (ctypes.c_size_t, (HANDLE,), False),
    "bpf_program__type": (INT, (HANDLE,), False),
    "bpf_program__expected_attach_type": (INT, (HANDLE,), False),
    "bpf_program__autoload": (ctypes.c_bool, (HANDLE,), False),
    "bpf_program__set_autoload": (INT, (HANDLE, ctypes.c_bool), True),
    "bpf_program__set_type": (INT, (HANDLE, INT), False),
    "bpf_program__set_expected_attach_type": (INT, (HANDLE, INT), False),
    "bpf_program__set_attach_target": (INT, (HANDLE, INT, TEXT), True),
    "bpf_program__set_ifindex": (None, (HANDLE, U32), False),
    "bpf_program__fd": (INT, (HANDLE,), True),
    "bpf_map__name": (TEXT, (HANDLE,), False),
    "bpf_map__type": (INT, (HANDLE,), False),
    "bpf_map__key_size": (U32, (HANDLE,), False),
    "bpf_map__value_size": (U32, (HANDLE,), False),
    "bpf_map__max_entries": (U32, (HANDLE,), False),
    "bpf_map__map_flags": (U32, (HANDLE,), False),
    "bpf_map__map_extra": (ctypes.c_uint64, (HANDLE,), False),
    "bpf_map__is_internal": (ctypes.c_bool, (HANDLE,), False),
    "bpf_map__btf_key_type_id": (U32, (HANDLE,), False),
    "bpf_map__btf_value_type_id": (U32, (HANDLE,), False),
    "bpf_map__inner_map": (HANDLE, (HANDLE,), False),
    "bpf_map__set_max_entries": (INT, (HANDLE, U32), True),
    "bpf_map__set_initial_value": (INT, (HANDLE, POINTER, ctypes.c_size_t), True),
    "bpf_map__set_ifindex": (INT, (HANDLE, U32), True),
    "bpf_map__set_pin_path": (INT, (HANDLE, TEXT), True),
    "bpf_map__reuse_fd": (INT, (HANDLE, INT), True),
    "bpf_map__fd": (INT, (HANDLE,), True),
}

_FLAGS: Functions = {
    "bpf_program__set_flags": (INT, (HANDLE, U32), False),
    "bpf_program__flags": (U32, (HANDLE,), False),
}


class ObjectProgram(t.NamedTuple):
    """A program in an object file; `autoload` is false for a section marked with '?'.

    `attachable`: it is for an interface, unlike an XDP program for the entries of a devmap or cpumap.
    """

    name: str
    section: str
    instructions: int
    xdp: bool
    autoload: bool
    attachable: bool = True


class ObjectMap(t.NamedTuple):
    """A map in an object file; `internal` is true for global data (.bss, .data, .rodata)."""

    name: str
    shape: MapShape
    internal: bool


class ObjectTypes(t.NamedTuple):
    """The numbers of a map's types in the object's BTF, 0 without; `inner` those of the maps in a map of maps."""

    key: int
    value: int
    inner: t.Optional[t.Tuple[MapShape, int, int]] = None


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


class Object:
    """An object file that libbpf has opened; closed at the end of its context."""

    def __init__(self, lib: Libbpf, handle: t.Any, keep: t.Any, log: t.Any) -> None:
        self._lib = lib
        self._c = lib.c
        self._handle = handle
        self._keep = keep  # libbpf reads the ELF image until the object is closed
        self._log = log

    def __enter__(self) -> "Object":
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
        """Raises BpfError if there is none: once a damaged object is loaded, libbpf may no longer list its program."""
        read_name = getattr(self._c, "bpf_program__name" if kind == "program" else "bpf_map__name")
        for handle in self._each(kind):
            if read_name(handle).decode(errors="replace") == name:
                return handle
        raise BpfError(errno.ENOENT, f"finding the {kind} {name}")

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
                xdp=c.bpf_program__type(p) == PROGRAM_TYPES.index("xdp"),
                autoload=c.bpf_program__autoload(p),
                attachable=c.bpf_program__expected_attach_type(p) not in BPF_XDP_OF_MAPS,
            )
            for p in self._each("program")
        )

    @property
    def maps(self) -> t.Tuple[ObjectMap, ...]:
        c = self._c
        return tuple(
            ObjectMap(
                name=c.bpf_map__name(m).decode(errors="replace"),
                shape=self._shape(m),
                internal=c.bpf_map__is_internal(m),
            )
            for m in self._each("map")
        )

    def _shape(self, bpf_map: t.Any) -> MapShape:
        c = self._c
        return MapShape(
            type=named(MAP_TYPES, c.bpf_map__type(bpf_map)),
            key_size=c.bpf_map__key_size(bpf_map),
            value_size=c.bpf_map__value_size(bpf_map),
            max_entries=c.bpf_map__max_entries(bpf_map),
            flags=c.bpf_map__map_flags(bpf_map),
            extra=c.bpf_map__map_extra(bpf_map),
        )

    @property
    def btf(self) -> bytes:
        """With the offsets of global variables, which the compiler leaves to libbpf. Empty without BTF."""
        handle, size = self._c.bpf_object__btf(self._handle), ctypes.c_uint32()
        data = self._c.btf__raw_data(handle, ctypes.byref(size)) if handle else None
        return ctypes.string_at(data, size.value) if data else b""

    def types(self, name: str) -> ObjectTypes:
        """Of the map of that name; before it is loaded."""
        c, found = self._c, self._find("map", name)
        inner = c.bpf_map__inner_map(found)
        inside = None
        if inner:
            inside = self._shape(inner), c.bpf_map__btf_key_type_id(inner), c.bpf_map__btf_value_type_id(inner)
        return ObjectTypes(c.bpf_map__btf_key_type_id(found), c.bpf_map__btf_value_type_id(found), inside)

    def begin_with(self, name: str, value: bytes) -> None:
        """Have a map of global data begin with `value`; before it is loaded."""
        self._c.bpf_map__set_initial_value(self._find("map", name), value, len(value))

    def resize(self, name: str, entries: int) -> None:
        """Give a map room for so many entries; before it is loaded."""
        self._c.bpf_map__set_max_entries(self._find("map", name), entries)

    def take_the_place_of(self, name: str, target_fd: int, function: str) -> None:
        """Make a program of type ext of that XDP program, for a function of another program; before it is loaded."""
        c, found = self._c, self._find("program", name)
        c.bpf_program__set_type(found, PROGRAM_TYPES.index("ext"))
        c.bpf_program__set_expected_attach_type(found, 0)
        c.bpf_program__set_attach_target(found, target_fd, function.encode())
        if hasattr(c, "bpf_program__set_flags"):  # since 0.6, before which no program has any
            flags = self._lib.declare(_FLAGS)
            flags.bpf_program__set_flags(found, flags.bpf_program__flags(found) & ~BPF_F_XDP_HAS_FRAGS)

    def load(self, programs: t.Container[str], reuse: t.Mapping[str, int], ifindex: int = 0) -> None:
        """Load only `programs`; `reuse` has the fds of maps to use instead of new ones.

        ifindex is that of the interface to offload to, else 0. Raises BpfError with the verifier's or libbpf's log.
        """
        c = self._c
        for program in self._each("program"):
            c.bpf_program__set_autoload(program, c.bpf_program__name(program).decode(errors="replace") in programs)
            if ifindex:
                c.bpf_program__set_ifindex(program, ifindex)
        for bpf_map in self._each("map"):
            # This collection makes the pins: an object with pin paths of its own would share maps across interfaces.
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
            error.log = verifier.strip() or self._lib.warnings()
            raise

    def program_fd(self, name: str) -> int:
        """The fd of a loaded program; the object owns the fd."""
        return t.cast(int, self._c.bpf_program__fd(self._find("program", name)))

    def btf_id(self) -> int:
        """The id of its BTF in the kernel, once it is loaded; 0 if it has none there."""
        from .loaded_btf import btf_id  # imported here, because a target compiles what it imports

        fd = self._c.bpf_object__btf_fd(self._handle)
        return btf_id(self._lib, fd) if fd >= 0 else 0

    def map_fd(self, name: str) -> int:
        """The fd of a map of a loaded object; the object owns the fd."""
        return t.cast(int, self._c.bpf_map__fd(self._find("map", name)))


def open_object(lib: Libbpf, image: bytes, name: str) -> Object:
    """Open an ELF image; `name` is used in place of a file name. Loads nothing."""
    log = (ctypes.c_char * LOG_SIZE).from_buffer(mmap.mmap(-1, LOG_SIZE))
    options = _OpenOpts(object_name=name.encode())
    if hasattr(lib.c, "bpf_program__set_log_buf"):  # 0.7 and later; older ones print the log
        options.kernel_log_buf, options.kernel_log_size = ctypes.addressof(log), len(log)
    options.sz = ctypes.sizeof(options)
    buffer = ctypes.create_string_buffer(image, len(image))
    c = lib.declare(_FUNCTIONS)
    lib.messages.clear()
    try:
        handle = c.bpf_object__open_mem(buffer, len(image), ctypes.byref(options))
    except BpfError as error:
        error.log = lib.warnings()
        raise
    return Object(lib, handle, buffer, log)

# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of programs, links and maps, as bpftool names them, and the shape of a map. include/uapi/linux/bpf.h"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import mmap
import typing as t

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

MAPS_OF_MAPS = ("array_of_maps", "hash_of_maps")

# Flags of maps: BPF_F_*
_NO_COMMON_LRU = 1 << 1
_ONE_SIDE = 1 << 3 | 1 << 4  # BPF_F_RDONLY and BPF_F_WRONLY: of a file descriptor, not kept
RDONLY_PROG = 1 << 7
MMAPABLE = 1 << 10

# Maps of which the kernel or libbpf may choose the number of entries by the CPUs.
SIZED_BY_CPUS = ("lru_hash", "lru_percpu_hash", "perf_event_array")


class MapShape(t.NamedTuple):
    """What must be equal for an existing map to be used instead of a new one. Sizes in bytes.

    `extra` is map_extra: the number of hash functions of a bloom filter, the address of an arena.
    """

    type: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    extra: int = 0

    def __str__(self) -> str:
        flags = f", flags 0x{self.flags:x}" if self.flags else ""
        extra = f", extra 0x{self.extra:x}" if self.extra else ""
        return (
            f"{self.type}, key {self.key_size} B, value {self.value_size} B, {self.max_entries} entries{flags}{extra}"
        )


def as_made(shape: MapShape, cpus: int, page: int = mmap.PAGESIZE) -> MapShape:
    """What libbpf and the kernel make of the shape in an object file. `cpus`: the possible ones."""
    entries, flags = shape.max_entries, shape.flags & ~_ONE_SIDE
    if shape.type in ("devmap", "devmap_hash"):
        flags |= RDONLY_PROG  # dev_map_init_map()
    elif shape.type in ("lru_hash", "lru_percpu_hash") and flags & _NO_COMMON_LRU:
        entries = -(-entries // cpus) * cpus  # htab_map_alloc(): lists of the same length, at most 2^32-1 in all
        entries -= cpus if entries >= 1 << 32 else 0
    elif shape.type in ("ringbuf", "user_ringbuf") and entries:
        pages = -(-entries // page)
        entries = page << (pages - 1).bit_length()  # libbpf's adjust_ringbuf_sz(); older ones do it when they load
    elif shape.type == "perf_event_array":
        entries = entries or cpus
    return shape._replace(max_entries=entries, flags=flags)


def named(names: t.Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"type_{number}"

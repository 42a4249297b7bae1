# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of programs, links and maps, as bpftool names them, and the shape of a map. include/uapi/linux/bpf.h"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
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


class MapShape(t.NamedTuple):
    """What must be equal for an existing map to be used instead of a new one. Sizes in bytes."""

    type: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    def __str__(self) -> str:
        flags = f", flags 0x{self.flags:x}" if self.flags else ""
        return f"{self.type}, key {self.key_size} B, value {self.value_size} B, {self.max_entries} entries{flags}"


def named(names: t.Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"type_{number}"

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Another's program, to be beside ours: it counts, and passes. SLOW: it takes so many turns of a loop first. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef SLOW
#define SLOW 0
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} second_map SEC(".maps");

SEC("xdp")
int second_count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *packets = bpf_map_lookup_elem(&second_map, &key);

#pragma clang loop unroll(disable)
	for (int turn = 0; turn < SLOW; turn++)
		bpf_ktime_get_ns();
	if (packets)
		(*packets)++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

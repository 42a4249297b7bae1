// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Another's program, to be beside ours: it counts, and passes. SLOW: that takes it so many ns. */
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

#if SLOW
/* Global, so that the verifier looks at it once; kernels before 5.17 have no bpf_loop(). */
__attribute__((noinline)) int spin(__u64 until)
{
	for (int turn = 0; turn < 2000; turn++)
		if (bpf_ktime_get_ns() >= until)
			return 1;
	return 0;
}
#endif

SEC("xdp")
int second_count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *packets = bpf_map_lookup_elem(&second_map, &key);

	if (packets)
		(*packets)++;
#if SLOW
	__u64 until = bpf_ktime_get_ns() + SLOW;

	for (int turn = 0; turn < 2000; turn++)
		if (spin(until))
			break;
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

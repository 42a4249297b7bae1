// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A filter that drops what comes after the first LIMIT packets. SWAPPED: its two variables change
 * places. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef SWAPPED
__u64 limit = LIMIT;
__u64 hits = 1;
#else
__u64 hits = 1;
__u64 limit = LIMIT;
#endif

SEC("xdp")
int packet_count(struct xdp_md *ctx)
{
	return ++hits > limit ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

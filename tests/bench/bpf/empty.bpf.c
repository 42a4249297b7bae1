// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The cost of every XDP program: all others are compared with it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* The same, with the only call that returns the length of a packet of several buffers. */
SEC("?xdp.frags")
int length(struct xdp_md *ctx)
{
	return bpf_xdp_get_buff_len(ctx) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

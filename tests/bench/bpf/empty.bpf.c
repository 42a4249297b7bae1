// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* What every XDP program costs: all others are measured against it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* And what one costs that asks for the length of a packet of several buffers: there is no other way
 * to. */
SEC("?xdp.frags")
int length(struct xdp_md *ctx)
{
	return bpf_xdp_get_buff_len(ctx) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

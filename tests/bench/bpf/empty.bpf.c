// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* What every XDP program costs: all others are measured against it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

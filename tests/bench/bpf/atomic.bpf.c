// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Two globals, shared by all CPUs and incremented atomically. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__u64 packets;
	__u64 bytes;
} counters;

SEC("xdp")
int atomic(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&counters.packets, 1);
	__sync_fetch_and_add(&counters.bytes, ctx->data_end - ctx->data);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A per-CPU array with an entry for each XDP action, looked up by the action that is returned. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XDP_REDIRECT + 1);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline __u32 count(struct xdp_md *ctx, __u32 action)
{
	struct counter *counter;

	if (action > XDP_REDIRECT)
		return XDP_ABORTED;
	counter = bpf_map_lookup_elem(&counters, &action);
	if (!counter)
		return XDP_ABORTED;
	counter->packets++;
	counter->bytes += ctx->data_end - ctx->data;
	return action;
}

SEC("xdp")
int actions(struct xdp_md *ctx)
{
	return count(ctx, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

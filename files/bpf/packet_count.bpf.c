// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/* Written from user space (plugins/module_utils/trace.py) while somebody looks. */
struct trace {
	__u64 until; /* CLOCK_MONOTONIC in ns: a reader that was killed is not printed for */
	__u32 every; /* print each Nth packet of a CPU, 0: none */
	__u32 tag;   /* printed in front, so that the reader can tell its own lines */
};

struct trace trace SEC(".data.trace");

static __always_inline __u64 add(__u64 bytes)
{
	__u32 key = 0;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter)
		return 0;

	/* Each CPU has a counter of its own and XDP runs in its softirq: no atomics. */
	counter->bytes += bytes;
	return ++counter->packets;
}

/* A function of its own, so that packets which nobody looks at do not save registers for it. */
static __noinline int count_and_print(struct xdp_md *ctx, __u64 bytes)
{
	__u64 packets = add(bytes);
	__u32 every = trace.every;

	if (bpf_ktime_get_ns() > trace.until) {
		trace.every = 0;
		return XDP_PASS;
	}
	/* No width in the format: kernels before 5.13 refuse it, and print nothing. */
	if (every && packets % every == 0)
		bpf_printk("packet_count %x ifindex %d packets %llu", trace.tag,
			   ctx->ingress_ifindex, packets);
	return XDP_PASS;
}

static __always_inline int count(struct xdp_md *ctx, __u64 bytes)
{
	if (__builtin_expect(trace.every, 0))
		return count_and_print(ctx, bytes);
	add(bytes);
	return XDP_PASS;
}

SEC("xdp")
int packet_count(struct xdp_md *ctx)
{
	return count(ctx, ctx->data_end - ctx->data);
}

/*
 * For a packet of more than one buffer (jumbo MTU, kernel 5.18 and later), where
 * data_end is the end of the first. '?': loaded only when asked for by name.
 */
SEC("?xdp.frags")
int packet_count_frags(struct xdp_md *ctx)
{
	return count(ctx, bpf_xdp_get_buff_len(ctx));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

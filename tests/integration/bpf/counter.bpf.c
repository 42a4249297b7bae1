// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A counter in versions: VERSION changes the code, 0 drops packets; WIDE changes the map, MORE adds
 * one. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

struct counter {
	__u64 packets;
	__u64 bytes;
#ifdef WIDE
	__u64 version;
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

#ifdef MORE
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} a_map_with_a_long_name SEC(".maps");
#endif

SEC("xdp")
int packet_count(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

#ifdef MORE
	__u64 version = VERSION;

	bpf_map_update_elem(&a_map_with_a_long_name, &key, &version, BPF_ANY);
#endif
	if (counter) {
		counter->packets++;
		counter->bytes += ctx->data_end - ctx->data;
#ifdef WIDE
		counter->version = VERSION;
#endif
	}
	/* Never true: it makes each version a different program. */
	if (ctx->rx_queue_index == 100000 + VERSION)
		return XDP_ABORTED;
	return VERSION == 0 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

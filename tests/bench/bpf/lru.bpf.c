// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* An LRU hash by IPv4 source address, shared by all CPUs and incremented atomically. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

SEC("xdp")
int lru(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct counter first = {.packets = 1, .bytes = end - data};
	struct counter *counter;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	__u32 source;

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	source = ip->saddr;
	counter = bpf_map_lookup_elem(&counters, &source);
	if (!counter) {
		if (!bpf_map_update_elem(&counters, &source, &first, BPF_NOEXIST))
			return XDP_PASS;
		counter = bpf_map_lookup_elem(&counters, &source); /* a different CPU was faster */
	}
	if (counter) {
		__sync_fetch_and_add(&counter->packets, 1);
		__sync_fetch_and_add(&counter->bytes, first.bytes);
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

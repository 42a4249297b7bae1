// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Limits the packets of each IPv4 address to a rate, by a token bucket for each. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NS_PER_S 1000000000ULL
#define TRIES 8 /* as many CPUs may count packets of one address at the same moment */

enum action {
	ACTION_DROP = XDP_DROP,
	ACTION_PASS = XDP_PASS,
};

struct config {
	__u32 rate;	  /* packets a second from each address; 0: no limit */
	__u32 burst;	  /* packets at once, after a pause */
	enum action over; /* what happens to those above the limit */
};

const volatile struct config config = {
	.rate = 1000,
	.burst = 100,
	.over = ACTION_DROP,
};

struct bucket {
	__u64 due;  /* when the next packet would come at exactly that rate; ns of the monotonic
		       clock */
	__u64 over; /* packets above the limit */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, struct bucket);
} sources SEC(".maps");

/*
 * The generic cell rate algorithm: a packet is `cost` ns of the future, and may be at
 * most `burst` of them early. One number for each address, so no lock is needed: each
 * CPU takes its part by compare and swap (kernel 5.12 and later).
 */
static __always_inline _Bool within(struct bucket *bucket)
{
	__u64 cost = NS_PER_S / config.rate, most = cost * config.burst;
	__u64 now = bpf_ktime_get_ns();
	int i;

	for (i = 0; i < TRIES; i++) {
		__u64 due = bucket->due, from = due > now ? due : now;

		if (from + cost > now + most)
			break;
		if (__sync_val_compare_and_swap(&bucket->due, due, from + cost) == due)
			return 1;
	}
	__sync_fetch_and_add(&bucket->over, 1);
	return 0;
}

SEC("xdp")
int ratelimit(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct bucket *bucket;
	__be32 source;

	if (!config.rate || (void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	source = ip->saddr;
	bucket = bpf_map_lookup_elem(&sources, &source);
	if (!bucket) {
		struct bucket none = {};

		/* Another CPU may add it first: then the lookup finds that one. */
		bpf_map_update_elem(&sources, &source, &none, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&sources, &source);
		if (!bucket)
			return XDP_PASS;
	}
	return within(bucket) ? XDP_PASS : config.over;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

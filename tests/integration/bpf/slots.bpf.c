// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Block lists in slots, as a program has them that wants to replace a list at once by itself. The
 * list of slot 0 drops, and so do the sources of zone VERSION.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

struct prefix4 {
	__u32 length;
	__u8 address[4];
};

struct zone {
	__be16 vlan;
	__u16 number;
};

struct list {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 200000);
	__type(key, struct prefix4);
	__type(value, __u8);
};

struct list first SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct list);
} lists SEC(".maps") = {
	.values = {[0] = &first},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, struct zone);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_HASH);
			__uint(max_entries, 1024);
			__type(key, __u32);
			__type(value, __u64);
		});
} zones SEC(".maps");

SEC("xdp")
int slots(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct prefix4 source = {.length = 32};
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct zone zone = {.number = VERSION};
	void *list, *known;
	__u32 slot = 0;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	__builtin_memcpy(source.address, &ip->saddr, sizeof(source.address));
	list = bpf_map_lookup_elem(&lists, &slot);
	if (list && bpf_map_lookup_elem(list, &source))
		return XDP_DROP;
	known = bpf_map_lookup_elem(&zones, &zone);
	if (known && bpf_map_lookup_elem(known, source.address))
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

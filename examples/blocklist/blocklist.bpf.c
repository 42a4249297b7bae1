// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Drops packets from listed addresses. The allow lists always win. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_DEPTH 2

enum verdict {
	VERDICT_PASSED,	     /* in no list */
	VERDICT_ALLOWED,     /* in an allow list */
	VERDICT_BLOCKED,     /* in a block list, and dropped */
	VERDICT_NOT_DROPPED, /* in a block list, but enforce is false */
	VERDICT_NOT_IP,
	VERDICTS,
};

struct prefix4 {
	__u32 length;
	__u8 address[4];
};

struct prefix6 {
	__u32 length;
	__u8 address[16];
};

struct count {
	__u64 packets;
	__u64 bytes;
};

#define PREFIXES(name, prefix, entries)                                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, entries);                                                      \
		__type(key, struct prefix);                                                        \
		__type(value, __u8);                                                               \
	} name SEC(".maps")

PREFIXES(allow4, prefix4, 1024);
PREFIXES(allow6, prefix6, 1024);
PREFIXES(block4, prefix4, 200000);
PREFIXES(block6, prefix6, 200000);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32); /* enum verdict: the kernel takes no enum as the key of an array */
	__type(value, struct count);
} verdicts SEC(".maps");

const volatile _Bool enforce = 1; /* 0: count, and drop nothing */

struct vlan {
	__be16 tci;
	__be16 proto;
};

static __always_inline enum verdict blocked(void)
{
	return enforce ? VERDICT_BLOCKED : VERDICT_NOT_DROPPED;
}

static __always_inline enum verdict judge4(const struct iphdr *ip)
{
	struct prefix4 source = {.length = 32};

	__builtin_memcpy(source.address, &ip->saddr, sizeof(source.address));
	if (bpf_map_lookup_elem(&allow4, &source))
		return VERDICT_ALLOWED;
	return bpf_map_lookup_elem(&block4, &source) ? blocked() : VERDICT_PASSED;
}

static __always_inline enum verdict judge6(const struct ipv6hdr *ip)
{
	struct prefix6 source = {.length = 128};

	__builtin_memcpy(source.address, &ip->saddr, sizeof(source.address));
	if (bpf_map_lookup_elem(&allow6, &source))
		return VERDICT_ALLOWED;
	return bpf_map_lookup_elem(&block6, &source) ? blocked() : VERDICT_PASSED;
}

static __always_inline enum verdict judge(void *data, void *end)
{
	struct ethhdr *eth = data;
	void *next = eth + 1;
	__be16 proto;
	int i;

	if (next > end)
		return VERDICT_NOT_IP;
	proto = eth->h_proto;
#pragma unroll
	for (i = 0; i < VLAN_DEPTH; i++) {
		struct vlan *vlan = next;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > end)
			return VERDICT_NOT_IP;
		proto = vlan->proto;
		next = vlan + 1;
	}
	if (proto == bpf_htons(ETH_P_IP) && next + sizeof(struct iphdr) <= end)
		return judge4(next);
	if (proto == bpf_htons(ETH_P_IPV6) && next + sizeof(struct ipv6hdr) <= end)
		return judge6(next);
	return VERDICT_NOT_IP;
}

SEC("xdp")
int blocklist(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 verdict = judge(data, end);
	struct count *count = bpf_map_lookup_elem(&verdicts, &verdict);

	if (count) {
		count->packets++;
		count->bytes += end - data;
	}
	return verdict == VERDICT_BLOCKED ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

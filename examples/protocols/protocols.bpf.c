// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Counts packets by VLAN, EtherType and IP protocol. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct kind {
	__u16 vlan; /* of the outer tag; 0: none */
	__be16 ethertype;
	__u8 protocol; /* of IPv4, or the next header of IPv6; else 0 */
	__u8 unused[3];
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct kind);
	__type(value, struct count);
} kinds SEC(".maps");

struct vlan {
	__be16 tci;
	__be16 proto;
};

static __always_inline struct kind kind_of(void *data, void *end)
{
	struct kind kind = {};
	struct ethhdr *eth = data;
	void *next = eth + 1;

	if (next > end)
		return kind;
	kind.ethertype = eth->h_proto;
	if (kind.ethertype == bpf_htons(ETH_P_8021Q) || kind.ethertype == bpf_htons(ETH_P_8021AD)) {
		struct vlan *vlan = next;

		if ((void *)(vlan + 1) > end)
			return kind;
		kind.vlan = bpf_ntohs(vlan->tci) & 0xfff;
		kind.ethertype = vlan->proto;
		next = vlan + 1;
	}
	if (kind.ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = next;

		if ((void *)(ip + 1) <= end)
			kind.protocol = ip->protocol;
	} else if (kind.ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = next;

		if ((void *)(ip + 1) <= end)
			kind.protocol = ip->nexthdr;
	}
	return kind;
}

SEC("xdp")
int protocols(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct kind kind = kind_of(data, end);
	struct count *count = bpf_map_lookup_elem(&kinds, &kind);
	struct count none = {};

	if (!count) {
		/* Another CPU may add it first: then the lookup finds that one. */
		bpf_map_update_elem(&kinds, &kind, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&kinds, &kind);
		if (!count)
			return XDP_PASS; /* more kinds than the map has room for */
	}
	count->packets++;
	count->bytes += end - data;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

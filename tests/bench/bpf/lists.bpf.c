// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Maps to be filled. ENTRIES: how many each has room for. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct prefix {
	__u32 length;
	__u8 address[4];
};

#define MAP(name, kind, key_type, value_type, flags)                                               \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##kind);                                                 \
		__uint(max_entries, ENTRIES);                                                      \
		__uint(map_flags, flags);                                                          \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} name SEC(".maps")

MAP(numbers, HASH, __u32, __u64, 0);
MAP(prefixes, LPM_TRIE, struct prefix, __u32, BPF_F_NO_PREALLOC);
MAP(counters, PERCPU_ARRAY, __u32, __u64, 0);

SEC("xdp")
int lists(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct prefix prefix = {};

	bpf_map_lookup_elem(&numbers, &key);
	bpf_map_lookup_elem(&prefixes, &prefix);
	bpf_map_lookup_elem(&counters, &key);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A filter with a rule and a policy, whose next version has the same sizes and another meaning:
 * RENUMBERED the enum, MOVED the members of a rule, TYPE of the map of rules, GLOBAL of a variable.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef TYPE
#define TYPE BPF_MAP_TYPE_HASH
#endif
#ifndef GLOBAL
#define GLOBAL 1
#endif

enum action {
#ifdef RENUMBERED
	ACTION_LOG = 1,
	ACTION_DROP,
	ACTION_PASS,
#else
	ACTION_PASS = 1,
	ACTION_DROP,
	ACTION_LOG,
#endif
};

struct rule {
#ifdef MOVED
	__u32 limit;
	__u32 burst;
#else
	__u32 burst;
	__u32 limit;
#endif
	enum action action;
};

#ifndef VARIABLES
struct {
	__uint(type, TYPE);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");
#endif

enum action policy = ACTION_LOG;
#if GLOBAL == 1
__u64 threshold = 1000;
#elif GLOBAL == 2
__u32 threshold = 1000;
__u32 margin = 3;
#else
double threshold = 1000;
#endif

SEC("xdp")
int kin(struct xdp_md *ctx)
{
#ifndef VARIABLES
	__u32 key = 1;
	struct rule *rule = bpf_map_lookup_elem(&rules, &key);

	if (rule && rule->action == ACTION_DROP && rule->burst > rule->limit)
		return XDP_DROP;
#endif
	return policy == ACTION_DROP && *(volatile __u32 *)&threshold ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

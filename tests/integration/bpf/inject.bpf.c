// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Run by BPF_PROG_TEST_RUN with live frames: sends each out on the interface that user space names.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} out SEC(".maps");

SEC("xdp")
int inject(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u32 *ifindex = bpf_map_lookup_elem(&out, &key);

	return ifindex ? bpf_redirect(*ifindex, 0) : XDP_ABORTED;
}

char LICENSE[] SEC("license") = "GPL";

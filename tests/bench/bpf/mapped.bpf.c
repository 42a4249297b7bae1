// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A global array that user space maps into its memory: a cache line for each CPU number. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_CPUS 256

struct {
	__u64 packets;
	__u64 bytes;
} __attribute__((aligned(64))) counters[MAX_CPUS];

SEC("xdp")
int mapped(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & (MAX_CPUS - 1);

	counters[cpu].packets++;
	counters[cpu].bytes += ctx->data_end - ctx->data;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

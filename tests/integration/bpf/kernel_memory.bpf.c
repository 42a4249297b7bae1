// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Reads the kernel's memory, which a lockdown for confidentiality forbids. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int kernel_memory(struct xdp_md *ctx)
{
	__u32 read;

	bpf_probe_read_kernel(&read, sizeof(read), ctx);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* XDP programs for the entries of maps, which no interface runs; with INTERFACE also one for an
 * interface. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef INTERFACE
SEC("xdp")
int ingress(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

SEC("xdp/devmap")
int egress(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp.frags/cpumap")
int remote(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

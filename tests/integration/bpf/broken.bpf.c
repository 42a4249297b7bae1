// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Objects with a defect: REFUSED (by the verifier), NO_XDP, TWO (programs). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef REFUSED
SEC("xdp")
int refused(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->data; /* not checked against data_end */
}
#endif

#ifdef NO_XDP
SEC("tc")
int classify(struct __sk_buff *skb)
{
	return 0;
}
#endif

#ifdef TWO
SEC("xdp")
int first(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* What needs the kernel's BTF when it is loaded: RELOCATION and FUNCTION and VARIABLE do, UNTYPED
 * and KCONFIG do not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct xdp_buff {
	void *data;
} __attribute__((preserve_access_index));

extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, int *type) __ksym __weak;
extern const int nr_cpu_ids __ksym __weak;
extern const void init_net __ksym __weak;

#ifdef KCONFIG /* what libbpf finds on each host, beside what is the program's own */
extern int LINUX_KERNEL_VERSION __kconfig;
const volatile int limit;
#endif

SEC("xdp")
int packet_count(struct xdp_md *ctx)
{
#ifdef RELOCATION
	if (!bpf_core_type_exists(struct xdp_buff))
		return XDP_ABORTED;
#endif
#ifdef FUNCTION
	__u32 hash;
	int type;

	if (bpf_xdp_metadata_rx_hash)
		bpf_xdp_metadata_rx_hash(ctx, &hash, &type);
#endif
#ifdef VARIABLE
	if (&nr_cpu_ids && nr_cpu_ids == -1)
		return XDP_ABORTED;
#endif
#ifdef KCONFIG
	if (LINUX_KERNEL_VERSION < 0x050a00 + limit)
		return XDP_ABORTED;
#endif
#ifdef UNTYPED
	if (&init_net == (void *)-1)
		return XDP_ABORTED;
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

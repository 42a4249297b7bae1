// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Maps that hold nothing between two packets. MORE makes them of a different size. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
#ifdef MORE
	__uint(max_entries, 1048576);
#else
	__uint(max_entries, 4096);
#endif
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
#ifdef MORE
	__uint(max_entries, 128);
#endif
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

SEC("xdp")
int packet_count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter)
		return XDP_PASS;
	++*counter;
	bpf_ringbuf_output(&events, counter, sizeof(*counter), 0);
	bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, counter, sizeof(*counter));
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A map of each type that XDP programs use, and variables in each section. VERSION makes another
 * program of it, MORE maps of a different size and sections with one more variable, MOVED structs
 * and sections whose members change places. VARIABLES leaves only the sections, NEWER adds maps
 * that older kernels do not have.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef MORE
#define SIZE 16
#else
#define SIZE 8
#endif

struct value {
#ifdef MOVED
	__u64 second;
	__u64 first;
#else
	__u64 first;
	__u64 second;
#endif
};

struct prefix {
	__u32 length;
	__u32 address;
};

#define MAP(NAME, TYPE, ENTRIES, FLAGS, KEY, VALUE)                                                \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##TYPE);                                                 \
		__uint(max_entries, ENTRIES);                                                      \
		__uint(map_flags, FLAGS);                                                          \
		__type(key, KEY);                                                                  \
		__type(value, VALUE);                                                              \
	} NAME SEC(".maps")

#define KEYLESS(NAME, TYPE, ENTRIES)                                                               \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##TYPE);                                                 \
		__uint(max_entries, ENTRIES);                                                      \
		__uint(key_size, 0);                                                               \
		__uint(value_size, sizeof(struct value));                                          \
	} NAME SEC(".maps")

MAP(
	counters, PERCPU_ARRAY, 1, 0, __u32, struct {
		__u64 packets;
		__u64 bytes;
	});

#ifndef VARIABLES
MAP(hash, HASH, SIZE, 0, __u32, struct value);
MAP(percpu_hash, PERCPU_HASH, SIZE, 0, __u32, struct value);
MAP(lru_hash, LRU_HASH, SIZE, 0, __u32, struct value);
MAP(lru_of_cpus, LRU_HASH, SIZE * 100 + 1, BPF_F_NO_COMMON_LRU, __u32, struct value);
MAP(lru_percpu_hash, LRU_PERCPU_HASH, SIZE, 0, __u32, struct value);
MAP(lpm_trie, LPM_TRIE, SIZE, BPF_F_NO_PREALLOC, struct prefix, struct value);
MAP(array, ARRAY, SIZE, 0, __u32, struct value);
MAP(percpu_array, PERCPU_ARRAY, SIZE, 0, __u32, struct value);
MAP(devmap, DEVMAP, SIZE, 0, __u32, __u32);
MAP(devmap_hash, DEVMAP_HASH, SIZE, 0, __u32, __u32);
MAP(cpumap, CPUMAP, SIZE, 0, __u32, __u32);
MAP(xskmap, XSKMAP, SIZE, 0, __u32, __u32);
KEYLESS(queue, QUEUE, SIZE);
KEYLESS(stack, STACK, SIZE);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SIZE * 1000);
} ringbuf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
#ifdef MORE
	__uint(max_entries, 128);
#endif
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf_event_array SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIZE);
	__type(key, __u32);
	__type(value, struct value);
};

struct inner inner_array SEC(".maps");
struct inner inner_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SIZE);
	__type(key, __u32);
	__array(values, struct inner);
} array_of_maps SEC(".maps") = {
	.values = {[1] = &inner_array},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, SIZE);
	__type(key, __u32);
	__array(values, struct inner);
} hash_of_maps SEC(".maps") = {
	.values = {[1] = &inner_hash},
};

#if NEWER >= 1
KEYLESS(bloom_filter, BLOOM_FILTER, SIZE);
#endif

#if NEWER >= 2
struct {
	__uint(type,
	       33); /* BPF_MAP_TYPE_ARENA, which the headers of older distributions do not have */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SIZE);
} arena SEC(".maps");
#endif

SEC("xdp")
int called(struct xdp_md *ctx)
{
	return VERSION == 1 ? XDP_PASS : XDP_DROP;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SIZE);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} calls SEC(".maps") = {
	.values = {[1] = (void *)&called},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SIZE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} calls_from_outside SEC(".maps");
#endif

#ifndef LIMIT
#define LIMIT 10
#endif

#ifdef MOVED
__s32 limit = LIMIT;
__u64 in_data = 5;
__u64 in_bss = 0;
__u64 since = 0;
#else
__u64 in_data = 5;
__s32 limit = LIMIT;
__u64 since = 0;
__u64 in_bss = 0;
#endif
__u64 in_named SEC(".data.named") = 5;
#ifdef MORE
__u64 more_data = 1;
__u64 more_bss = 0;
__u64 more_named SEC(".data.named") = 1;
#endif
const volatile __s32 fixed = LIMIT;

SEC("xdp")
int packet_count(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct {
		__u64 packets;
		__u64 bytes;
	} *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter) {
		counter->packets++;
		counter->bytes += fixed;
	}
	__sync_fetch_and_add(&in_data, 1);
	__sync_fetch_and_add(&in_bss, limit);
	__sync_fetch_and_add(&in_named, 1);
	since = VERSION;
#ifdef MORE
	more_bss += more_data + more_named;
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

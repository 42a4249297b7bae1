// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Programs of several types. Together they contain every kind of instruction that clang 14 can
 * emit. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} calls SEC(".maps");

__u64 wide = 1;
__u32 narrow = 1;

static __attribute__((noinline)) int twice(const struct xdp_md *ctx, __u32 number[3],
					   const char *word)
{
	return word ? number[1] * 2 + ctx->ingress_ifindex : 0;
}

static long each(__u32 index, void *context)
{
	*(__u64 *)context += index;
	return 0;
}

SEC("xdp")
int every_kind_of_instruction(struct xdp_md *ctx)
{
	__u32 key[3] = {0};
	__u64 sum = ctx->rx_queue_index;
	__u64 *value = bpf_map_lookup_elem(&values, key);

	__sync_fetch_and_add(&wide, 1);
	sum += __sync_fetch_and_add(&narrow, 2);
	sum += __sync_fetch_and_and(&wide, 3);
	sum += __sync_fetch_and_or(&narrow, 4);
	sum += __sync_fetch_and_xor(&wide, 5);
	sum += __sync_lock_test_and_set(&wide, 6);
	sum += __sync_val_compare_and_swap(&narrow, 7, 8);
	sum = sum % 10 + sum % (wide | 1) + (__u32)sum / (narrow | 1);
	bpf_loop(3, each, &sum, 0);
	asm volatile("r1 = 0x123456789abcdef0 ll\n"
		     "r2 = -5\n"
		     "w3 = -6\n"
		     "r4 = 7\n"
		     "r1 += r2\n r1 -= r2\n r1 *= r2\n r1 /= r4\n r1 |= r2\n r1 &= r2\n"
		     "r1 ^= r2\n r4 &= 7\n r1 <<= r4\n r1 >>= r4\n r1 s>>= r4\n r1 = -r1\n"
		     "r1 += 1\n r1 -= 2\n r1 *= 3\n r1 /= 4\n r1 |= 5\n r1 &= -6\n"
		     "r1 <<= 7\n r1 >>= 8\n r1 s>>= 9\n r1 ^= -11\n"
		     "w1 += w3\n w1 -= w3\n w1 *= w3\n w1 |= w3\n w1 &= w3\n w1 ^= w3\n w1 = -w1\n"
		     "w4 = 3\n w1 <<= w4\n w1 >>= w4\n w1 s>>= w4\n w1 s>>= 3\n w1 = w4\n"
		     "r1 = be16 r1\n r2 = be32 r2\n r3 = be64 r3\n r4 = le16 r4\n"
		     "if r1 == r2 goto +0\n if r1 != r2 goto +0\n if r1 > r2 goto +0\n if r1 >= r2 "
		     "goto +0\n"
		     "if r1 < r2 goto +0\n if r1 <= r2 goto +0\n if r1 s> r2 goto +0\n if r1 s>= "
		     "r2 goto +0\n"
		     "if r1 s< r2 goto +0\n if r1 s<= r2 goto +0\n"
		     "if r1 == 1 goto +0\n if r1 != -2 goto +0\n if r1 > 3 goto +0\n if r1 >= 4 "
		     "goto +0\n"
		     "if r1 < 5 goto +0\n if r1 <= 6 goto +0\n if r1 s> -7 goto +0\n if r1 s>= 8 "
		     "goto +0\n"
		     "if r1 s< 9 goto +0\n if r1 s<= 10 goto +0\n"
		     "if w1 == w2 goto +0\n if w1 != 11 goto +0\n if w1 s> -12 goto +0\n if w1 < "
		     "w2 goto +0\n"
		     "*(u64 *)(r10 - 64) = r1\n *(u32 *)(r10 - 56) = r1\n *(u16 *)(r10 - 52) = r1\n"
		     "*(u8 *)(r10 - 50) = r1\n"
		     "r1 = *(u64 *)(r10 - 64)\n r1 = *(u32 *)(r10 - 56)\n r1 = *(u16 *)(r10 - 52)\n"
		     "r1 = *(u8 *)(r10 - 50)\n"
		     "lock *(u64 *)(r10 - 64) += r2\n lock *(u32 *)(r10 - 56) += w2\n"
		     :
		     :
		     : "r0", "r1", "r2", "r3", "r4", "r5");
	if (value)
		*value = sum + twice(ctx, key, "word") + bpf_ktime_get_ns();
	bpf_tail_call(ctx, &calls, 0);
	return XDP_PASS;
}

SEC("socket")
int a_filter_of_sockets(struct __sk_buff *skb)
{
	register struct __sk_buff *context asm("r6") = skb;
	int result;

	asm volatile("r0 = *(u8 *)skb[12]\n r0 = *(u16 *)skb[14]\n"
		     "r7 = 4\n r0 = *(u32 *)skb[r7]\n %[result] = r0\n"
		     : [result] "=r"(result)
		     : "r"(context)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "r7");
	return result;
}

SEC("tc")
int classifier(struct __sk_buff *skb)
{
	return skb->len > 100 ? -1 : 0;
}

SEC("cgroup_skb/ingress")
int of_cgroup(struct __sk_buff *skb)
{
	return 1;
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Instructions of BPF's ISA v4 (kernel 6.6) and later, as numbers: clang 14 cannot emit them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define INSN(code, dst, src, offset, immediate)                                                    \
	".byte " #code ", " #dst " | " #src " << 4\n .2byte " #offset "\n .4byte " #immediate "\n"

SEC("xdp")
int newer(void *ctx)
{
	/* clang-format off */
	asm volatile("r1 = 100\n r2 = 7\n *(u64 *)(r10 - 8) = r2\n"
		     INSN(0xbf, 3, 1, 8, 0) /* r3 = (s8)r1 */
		     INSN(0xbf, 3, 1, 16, 0)
		     INSN(0xbf, 3, 1, 32, 0)
		     INSN(0xbc, 3, 1, 8, 0)
		     INSN(0xbc, 3, 1, 16, 0)
		     INSN(0x3f, 1, 2, 1, 0) /* r1 s/= r2 */
		     INSN(0x37, 1, 0, 1, -3)
		     INSN(0x3c, 1, 2, 1, 0)
		     INSN(0x9f, 1, 2, 1, 0) /* r1 s%= r2 */
		     INSN(0x94, 1, 0, 1, 5)
		     INSN(0xd7, 1, 0, 0, 16) /* r1 = bswap16 r1 */
		     INSN(0xd7, 1, 0, 0, 32)
		     INSN(0xd7, 1, 0, 0, 64)
		     INSN(0x91, 3, 10, -8, 0) /* r3 = *(s8 *)(r10 - 8) */
		     INSN(0x89, 3, 10, -8, 0)
		     INSN(0x81, 3, 10, -8, 0)
		     INSN(0x06, 0, 0, 0, 0) /* gotol +0 */
		     INSN(0xdb, 3, 10, -8, 0x100) /* r3 = load_acquire((u64 *)(r10 - 8)) */
		     INSN(0xdb, 10, 3, -8, 0x110) /* store_release((u64 *)(r10 - 8), r3) */
		     : : : "r1", "r2", "r3");
	/* clang-format on */
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";

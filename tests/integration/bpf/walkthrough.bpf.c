// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The program of the walkthrough from which this collection grew. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int counter = 0;

SEC("xdp")
int packet_count(void *ctx)
{
	bpf_printk("%d", counter);
	counter++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The smallest program that can be attached to a function: the cost that every uprobe tool has. */

#define SECTION(name) __attribute__((section(name), used))

SECTION("uprobe.multi") int on_entry(void *ctx)
{
	(void)ctx;
	return 0;
}

SECTION("uretprobe.multi") int on_return(void *ctx)
{
	(void)ctx;
	return 0;
}

SECTION("license") char LICENSE[] = "Dual BSD/GPL";

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs for functions of Go's crypto/tls; see go.h. They form a separate object, loaded only
 * where a Go program may be recorded: for the verifier they are as much work as all other programs
 * together. They share the maps of sslrec.bpf.c.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "event.h"
#include "maps.h"
#include "process.h"
#include "conn.h"
#include "call.h"
#include "go.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("uprobe")
int go_call_enter(struct pt_regs *ctx)
{
	return enter_go_call(ctx);
}

SEC("uprobe")
int go_call_exit(struct pt_regs *ctx)
{
	return leave_go_call(ctx);
}

SEC("uprobe")
int go_entry_only(struct pt_regs *ctx)
{
	return enter_go_entry_only(ctx);
}

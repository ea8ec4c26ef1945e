/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Descriptors of NSPR. PR_Read and PR_Write serve files, plain sockets and TLS alike: a descriptor
 * is a stack of layers, and TLS is a layer. Bytes are plaintext of TLS if the call is on that layer
 * or on a layer above it.
 */
#ifndef SSLREC_NSPR_H
#define SSLREC_NSPR_H

#include "process.h"
#include "site.h"

/* Programs put one or two layers of their own above and below the TLS layer. */
#define NSPR_LAYERS_MAX 8

/* The beginning of PRFileDesc, public in prio.h and the same since NSPR 4.0. */
struct nspr_descriptor {
	__u64 methods;
	__u64 secret;
	__u64 lower;
};

/* Returns the TLS layer of the process or, after a fork, of its parent. */
static __always_inline const struct tls_layer *tls_layer_of(__u32 pid)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct tls_layer *layer = bpf_map_lookup_elem(&tls_layers, &pid);
	__u32 parent;

	if (layer)
		return layer;
	parent = pid_of(BPF_CORE_READ(task, real_parent));
	return bpf_map_lookup_elem(&tls_layers, &parent);
}

static __always_inline bool has_tls_layer(__u32 pid, __u64 fd)
{
	const struct tls_layer *layer = tls_layer_of(pid);
	struct nspr_descriptor descriptor;

	if (!layer)
		return false;
#pragma clang loop unroll(disable)
	for (int i = 0; i < NSPR_LAYERS_MAX; i++) {
		if (!fd)
			return false;
		if (bpf_probe_read_user(&descriptor, sizeof(descriptor), (void *)fd)) {
			count(COUNT_LAYER_READ_FAULT);
			return false;
		}
		if (descriptor.methods >= layer->methods_start &&
		    descriptor.methods < layer->methods_end)
			return true;
		fd = descriptor.lower;
	}
	return false;
}

/* SSL_ImportFD returned this descriptor: its topmost layer is the TLS layer. */
static __always_inline void learn_tls_layer(__u32 pid, __u64 fd)
{
	struct tls_layer layer = {};

	if (bpf_probe_read_user(&layer.methods_start, sizeof(layer.methods_start), (void *)fd)) {
		count(COUNT_LAYER_READ_FAULT);
		return;
	}
	layer.methods_end = layer.methods_start + 1;
	if (bpf_map_update_elem(&tls_layers, &pid, &layer, BPF_ANY))
		count(COUNT_TLS_PID_TABLE_FULL);
}

/* Returns true for a call that transfers no bytes of TLS: a peek, or a call on a descriptor of NSPR
 * without a TLS layer. */
static __always_inline bool is_ignored(struct pt_regs *ctx, const struct site *site, __u32 pid)
{
	/* PR_MSG_PEEK of NSPR has the same value. */
	if (site->flags & SITE_PEEKS && PT_REGS_PARM4(ctx) & MSG_PEEK)
		return true;
	return site->flags & SITE_NSPR && !has_tls_layer(pid, PT_REGS_PARM1(ctx));
}

#endif

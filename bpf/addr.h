/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Addresses of connections, read from the socket that a call uses, or from the socket of the
 * descriptor that the program passed to the library. infer_addr.h handles connections that have
 * neither.
 */
#ifndef SSLREC_ADDR_H
#define SSLREC_ADDR_H

#include "conn.h"
#include "in_flight.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

/* Returns false if this is not a connected internet socket. */
static __always_inline bool read_endpoints(struct endpoints *ends, struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u16 remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));

	if (!remote_port)
		return false;
	if (family == AF_INET) {
		__be32 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		__be32 remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		__builtin_memcpy(ends->local, &local, sizeof(local));
		__builtin_memcpy(ends->remote, &remote, sizeof(remote));
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&ends->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&ends->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		return false;
	}
	ends->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	ends->remote_port = remote_port;
	ends->family = family;
	return true;
}

/* The most stack that is in use between the entry of a TLS call and a system call within it. The
 * stacks of coroutines are at least as large. */
#define CALL_STACK_MAX (16 * 1024)

/* Returns true if the current system call was made within a TLS call that began at `sp`, and not by
 * another coroutine of the same thread. */
static __always_inline bool is_on_stack_of(__u64 sp)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	return sp - PT_REGS_SP_CORE(regs) < CALL_STACK_MAX;
}

static __always_inline bool is_data_call(const struct call *call)
{
	const struct site *site = site_at(call->site);

	return site && site->kind != SITE_HANDSHAKE;
}

/* Handles a socket operation within the TLS call on this thread that began at `sp`: the socket
 * belongs to the connection. The bytes that a data call moved may be those of the handshake. */
static __always_inline void socket_used_within(__u64 thread, __u64 sp, struct sock *sk, bool moved)
{
	struct call_key call_key = { .sp = sp, .pid = thread >> 32 };
	struct conn_key key;
	struct conn *conn;
	struct call *call;

	/* Not TCP: a name server or a log that the call uses. */
	if (!is_on_stack_of(sp) || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return;
	call = call_at(&call_key);
	/* The call may have ended on another thread. */
	if (!call || call->thread != thread)
		return;
	key = conn_key_of(call_key.pid, call->ssl);
	conn = bpf_map_lookup_elem(&conns, &key);
	if (!conn)
		return;
	if (moved && is_data_call(call))
		conn->handshake_unsure = 1;
	if (conn->ends.family)
		return;
	conn->direct = 1;
	if (read_endpoints(&conn->ends, sk))
		announce(&key, conn);
}

/* Returns the socket behind a descriptor of this process, by way of its table of files. */
static __always_inline struct sock *socket_of_fd(__s32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;

	if (fd < 0 || (__u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file) {
		count(COUNT_SOCKET_READ_FAULT);
		return NULL;
	}
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* Called before the first event of a connection: its descriptor may be known even if no socket
 * operation was seen. */
static __always_inline void resolve_fd(const struct conn_key *key, struct conn *conn)
{
	struct sock *sk;

	if (conn->ends.family || conn->fd < 0)
		return;
	sk = socket_of_fd(conn->fd);
	if (sk && read_endpoints(&conn->ends, sk))
		announce(key, conn);
}

#endif

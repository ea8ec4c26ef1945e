/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections: the table of live TLS objects, how an object comes by its addresses, and the
 * events that tell the recorder about it.
 */
#ifndef SSLREC_CONN_H
#define SSLREC_CONN_H

#include "process.h"
#include "site.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

/* ---- Events other than data ---- */

/* A wake-up costs more than an event does, so only a ring that fills asks for one: the recorder
 * looks by itself every few milliseconds. */
static __always_inline __u64 wakeup_at(__u64 pending)
{
	return pending >= settings.ring_size / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline __u64 wakeup_flags(void)
{
	return wakeup_at(bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA));
}

static __always_inline void fill_head(struct event *head, __u16 kind, const struct conn_key *key,
				      const struct conn *conn)
{
	head->kind = kind;
	head->func = 0;
	head->pid = key->pid;
	head->tid = (__u32)current_thread();
	head->len = 0;
	head->ts_ns = bpf_ktime_get_boot_ns();
	head->ssl = key->ssl;
	head->born_ns = conn->born_ns;
}

static __always_inline void fill_conn(struct event_conn *e, __u16 kind,
				      const struct conn_key *key, const struct conn *conn)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	fill_head(&e->head, kind, key, conn);
	e->ends = conn->ends;
	e->uid = bpf_get_current_uid_gid();
	e->lib = conn->lib;
	e->role = conn->role;
	e->joined = conn->joined;
	__builtin_memset(e->comm, 0, sizeof(e->comm));
	BPF_CORE_READ_STR_INTO(&e->comm, task, group_leader, comm);
}

static __always_inline void announce(const struct conn_key *key, struct conn *conn)
{
	struct event_conn *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	fill_conn(e, EVENT_CONN, key, conn);
	bpf_ringbuf_submit(e, wakeup_flags());
	conn->announced = 1;
}

/* ---- The table ---- */

static __always_inline struct conn_key conn_key_of(__u32 pid, __u64 object)
{
	struct conn_key key = { .ssl = object, .pid = pid };

	return key;
}

/* A global function: what it puts on the stack is large, and nobody else has to have room for it.
 * Says whether there was none. */
__noinline int make_conn(__u32 pid, __u64 ssl, __u32 lib, __u32 joined)
{
	struct conn_key key = conn_key_of(pid, ssl);
	struct conn fresh = {
		.born_ns = bpf_ktime_get_boot_ns(),
		.fd = -1,
		.lib = lib,
		.joined = joined,
	};
	__u64 alive = 0;

	if (bpf_map_update_elem(&conns, &key, &fresh, BPF_NOEXIST))
		return 0;
	if (bpf_map_update_elem(&tls_pids, &pid, &alive, BPF_ANY))
		count(COUNT_TLS_PID_TABLE_FULL);
	return 1;
}

/*
 * After a fork the child goes on with the parent's TLS objects at the same addresses. What was
 * known of the object holds for the child as well; its streams start anew, as they are recorded
 * for each process. A global function, to have no place on the stack beside those of make_conn().
 */
__noinline int inherit(__u32 pid, __u64 ssl)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *forker = BPF_CORE_READ(task, real_parent);
	struct conn_key key = conn_key_of(pid, ssl);
	struct conn *conn = bpf_map_lookup_elem(&conns, &key), *parent;

	key.ssl ^= image_of(task) ^ image_of(forker);
	key.pid = pid_of(forker);
	parent = bpf_map_lookup_elem(&conns, &key);
	if (!conn || !parent)
		return 0;
	conn->ends = parent->ends;
	conn->fd = parent->fd;
	conn->role = parent->role;
	return 0;
}

/* The connection of an object, made on first sight. `joined` says that the call is one that
 * needs a handshake before it, which was not seen. */
static __always_inline struct conn *conn_of(const struct conn_key *key, __u16 lib, bool joined)
{
	struct conn *known = bpf_map_lookup_elem(&conns, key);

	if (known)
		return known;
	if (make_conn(key->pid, key->ssl, lib, joined) && joined)
		inherit(key->pid, key->ssl);
	return bpf_map_lookup_elem(&conns, key);
}

static __always_inline bool has_data(const struct conn *conn)
{
	return conn->offset[DIR_SENT] || conn->offset[DIR_RECEIVED];
}

/* ---- Addresses ---- */

/* False where this is no connected internet socket. */
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

/* The call in flight that began at this stack pointer, if one did. */
static __always_inline struct call *call_at(const struct call_key *key)
{
	struct call *call;

	if (key->depth)
		return bpf_map_lookup_elem(&go_calls, key);
	call = bpf_map_lookup_elem(&calls, key);
	if (call && call->in_flight)
		return call;
	return bpf_map_lookup_elem(&more_calls, key);
}

/* From the entry of a TLS call to a system call within it, no more stack than this is in use; the
 * stacks of coroutines are at least as large. */
#define CALL_STACK_MAX (16 * 1024)

/* True where the system call that runs was made within a TLS call that began at `sp`, and not by
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

/* A socket operation inside the TLS call on this thread that began at `sp` is that connection's.
 * What a data call moved may have been the handshake's. */
static __always_inline void socket_used_within(__u64 thread, __u64 sp, struct sock *sk, bool moved)
{
	struct call_key call_key = { .sp = sp, .pid = thread >> 32 };
	struct conn_key key;
	struct conn *conn;
	struct call *call;

	/* Not TCP: a name server or a log, asked from within the call. */
	if (!is_on_stack_of(sp) || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return;
	call = call_at(&call_key);
	/* It may have ended on another thread. */
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

/* The socket behind a descriptor of this process, by way of its table of files. */
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

/* Called before anything is first reported of a connection: the descriptor given to the library may
 * be known where no socket operation was seen. */
static __always_inline void resolve_fd(const struct conn_key *key, struct conn *conn)
{
	struct sock *sk;

	if (conn->ends.family || conn->fd < 0)
		return;
	sk = socket_of_fd(conn->fd);
	if (sk && read_endpoints(&conn->ends, sk))
		announce(key, conn);
}

/* ---- Ends ---- */

static __always_inline void fill_close(struct event_close *e, __u16 kind,
				       const struct conn_key *key, const struct conn *conn)
{
	fill_conn(&e->conn, kind, key, conn);
	e->offset[DIR_SENT] = conn->offset[DIR_SENT];
	e->offset[DIR_RECEIVED] = conn->offset[DIR_RECEIVED];
	e->shutdown = conn->shutdown;
	e->pad = 0;
}

static __always_inline void send_handshake(const struct conn_key *key, struct conn *conn,
					   __u64 end_ns, __u16 func, __s32 result, bool ok)
{
	struct event_handshake *e;

	if (!conn->announced)
		announce(key, conn);
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	fill_head(&e->head, EVENT_HANDSHAKE, key, conn);
	e->head.ts_ns = end_ns;
	e->head.func = func;
	e->lat_ns = end_ns - conn->handshake_ns;
	e->result = result;
	e->ok = ok;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/*
 * True where a handshake was begun and did not succeed. A single call does not tell that: what it
 * gives means "try again" too, and which it is only the library knows. But once the object is
 * released it is certain, unless a read or write may have completed the handshake unseen.
 */
static __always_inline bool handshake_failed(const struct conn *conn)
{
	return conn->handshake_end_ns && !conn->handshake_done && !conn->handshake_unsure &&
	       !has_data(conn);
}

static __always_inline void send_close(const struct conn_key *key, struct conn *conn)
{
	struct close_key late_key = {
		.ssl = key->ssl,
		.born_ns = conn->born_ns,
		.pid = key->pid,
	};
	struct event_close late = {};
	struct event_close *e;

	if (handshake_failed(conn))
		send_handshake(key, conn, conn->handshake_end_ns, conn->handshake_func,
			       conn->handshake_result, false);
	/* An object that came to nothing. */
	if (!conn->announced && !has_data(conn))
		return;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (e) {
		fill_close(e, EVENT_CLOSE, key, conn);
		bpf_ringbuf_submit(e, wakeup_flags());
		return;
	}
	count(COUNT_CONTROL_RING_FULL);
	fill_close(&late, EVENT_LATE_CLOSE, key, conn);
	if (bpf_map_update_elem(&late_closes, &late_key, &late, BPF_ANY))
		count(COUNT_CLOSE_TABLE_FULL);
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections: the table of live TLS objects, and the events that report them to the recorder,
 * except for data.
 */
#ifndef SSLREC_CONN_H
#define SSLREC_CONN_H

#include "process.h"

/* ---- Events other than data ---- */

/* A wake-up costs more than an event, so only a filling ring requests a wake-up: the recorder also
 * polls every few milliseconds. */
static __always_inline __u64 wakeup_at(__u64 pending)
{
	return pending >= settings.ring_size / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline __u64 wakeup_flags(void)
{
	return wakeup_at(bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA));
}

static __always_inline void fill_head(struct event *head, __u8 kind, const struct conn_key *key,
				      const struct conn *conn)
{
	head->kind = kind;
	head->dir = 0;
	head->func = 0;
	head->pid = key->pid;
	head->tid = (__u32)current_thread();
	head->len = 0;
	head->ts_ns = bpf_ktime_get_boot_ns();
	head->ssl = key->ssl;
	head->born_ns = conn->born_ns;
}

static __always_inline void fill_conn(struct event_conn *e, __u8 kind,
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

/* A global function: it uses much stack, which no other function then has to reserve. Returns 1 if
 * the connection is new. */
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
 * Copies a connection from parent to child. After a fork the child continues with the parent's TLS
 * objects at the same addresses. The known facts about the object hold for the child as well; its
 * streams start anew, as they are recorded for each process. A global function, so that its stack
 * is separate from that of make_conn().
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

/* Returns the connection of an object, created on first sight. `joined`: the call needs an earlier
 * handshake, which was not seen. */
static __always_inline struct conn *conn_of(const struct conn_key *key, __u16 lib, bool joined)
{
	struct conn *known = bpf_map_lookup_elem(&conns, key);

	if (known)
		return known;
	if (make_conn(key->pid, key->ssl, lib, joined) && joined)
		inherit(key->pid, key->ssl);
	return bpf_map_lookup_elem(&conns, key);
}

/* Returns the length of a stream as it is now, though a call on another thread may change it. */
static __always_inline __u64 length_of(const struct conn *conn, __u32 dir)
{
	return *(const volatile __u64 *)&conn->offset[dir & 1];
}

static __always_inline bool has_data(const struct conn *conn)
{
	return conn->offset[DIR_SENT] || conn->offset[DIR_RECEIVED];
}

/* ---- Ends ---- */

static __always_inline void fill_close(struct event_close *e, __u8 kind,
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
 * Returns true if a handshake began and did not succeed. A single call is no evidence: its result
 * may also mean "try again", and only the library can distinguish the two. The failure is certain
 * once the object is released, unless a read or write may have completed the handshake unseen.
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
	/* The object was never used for a connection. */
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

/*
 * Ends the connection of an object and begins another. Libraries call their own function for this
 * at the start of each handshake, so it has an effect only after a connection.
 */
static __always_inline void clear_conn(const struct conn_key *key, struct conn *conn)
{
	if (!conn->handshake_done && !has_data(conn) && !handshake_failed(conn))
		return;
	send_close(key, conn);
	conn->born_ns = bpf_ktime_get_boot_ns();
	conn->offset[DIR_SENT] = 0;
	conn->offset[DIR_RECEIVED] = 0;
	conn->handshake_ns = 0;
	conn->handshake_end_ns = 0;
	conn->handshake_done = 0;
	conn->handshake_unsure = 0;
	conn->params_sent = 0;
	conn->announced = 0;
	conn->joined = 0;
	conn->shutdown = 0;
	conn->direct = 0;
	__builtin_memset(&conn->ends, 0, sizeof(conn->ends));
}

/* Drops a reference; the last one ends the connection. */
static __always_inline void release_conn(const struct conn_key *key, struct conn *conn)
{
	if (conn->refs) {
		conn->refs--;
		return;
	}
	send_close(key, conn);
	bpf_map_delete_elem(&conns, key);
}

#endif

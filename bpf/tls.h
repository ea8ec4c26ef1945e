/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * TLS calls: what happens at entry and at return of a probed function. The site, not the code,
 * says which function it is and what it does; see enum site_kind.
 */
#ifndef SSLREC_TLS_H
#define SSLREC_TLS_H

#include "conn.h"
#include <bpf/bpf_tracing.h>

/* On x86 the return address is popped between function entry and return probe. */
#if defined(__TARGET_ARCH_x86)
#define RETURN_POPS 8
#else
#define RETURN_POPS 0
#endif

#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55	/* openssl/tls1.h, the same since 1.0.0 */

static __always_inline __u64 site_by_code(struct pt_regs *ctx)
{
	struct site_key key = { .page_offset = PT_REGS_IP(ctx) & 0xfff };
	__u64 *site;

	if (bpf_probe_read_user(&key.code, sizeof(key.code), (void *)PT_REGS_IP(ctx) + 8))
		return 0;
	site = bpf_map_lookup_elem(&sites, &key);
	return site ? *site : 0;
}

static __always_inline __u64 site_of(struct pt_regs *ctx)
{
	__u64 site = settings.have_cookie ? bpf_get_attach_cookie(ctx) : site_by_code(ctx);

	if (!site)
		count(COUNT_UNKNOWN_SITE);
	return site;
}

static __always_inline __u8 site_kind(__u64 site)
{
	return site >> SITE_KIND_SHIFT;
}

static __always_inline __u8 site_role(__u64 site)
{
	return site >> SITE_ROLE_SHIFT & 3;
}

static __always_inline __u8 site_dir(__u64 site)
{
	return site >> SITE_DIR_SHIFT & 1;
}

static __always_inline bool site_has(__u64 site, __u32 shift)
{
	return site >> shift & 1;
}

static __always_inline __u32 site_slot(__u64 site)
{
	return site_kind(site) == SITE_HANDSHAKE ? SLOT_HANDSHAKE : site_dir(site);
}

/* ---- Entry ---- */

/* True where an outer call on the same object, thread and slot counts this one's bytes. A stack
 * pointer above the wrapper's means that the wrapper was left without returning. */
static __always_inline bool within_wrapper(struct conn *conn, __u32 slot, const struct call_key *key)
{
	if (slot >= SLOTS)
		return false;
	return conn->wrapper_sp[slot] > key->sp && conn->wrapper_thread[slot] == key->thread;
}

static __always_inline void mark_thread(struct call *call, const struct call_key *key)
{
	__u64 *outer = bpf_map_lookup_elem(&current_ssl, &key->thread);

	call->outer_ssl = outer ? *outer : 0;
	if (bpf_map_update_elem(&current_ssl, &key->thread, &call->ssl, BPF_ANY))
		count(COUNT_THREAD_TABLE_FULL);
	else
		call->marked = 1;
}

static __always_inline void enter_conn(struct conn *conn, struct call *call,
				       const struct call_key *key)
{
	__u32 slot = site_slot(call->site);

	if (site_role(call->site))
		conn->role = site_role(call->site);
	if (site_kind(call->site) == SITE_HANDSHAKE && !has_data(conn))
		conn->joined = 0;
	if (site_kind(call->site) == SITE_HANDSHAKE && !conn->handshake_ns)
		conn->handshake_ns = call->start_ns;
	if (within_wrapper(conn, slot, key)) {
		call->nested = 1;
	} else if (site_has(call->site, SITE_WRAPS_SHIFT) && slot < SLOTS) {
		conn->wrapper_sp[slot] = key->sp;
		conn->wrapper_thread[slot] = key->thread;
	}
	if (settings.have_sock_length && !conn->ends.family)
		mark_thread(call, key);
}

/*
 * True where another probe has just taken this very call: one file on two overlay mounts looks
 * like two, and is probed as both. A call that was left without returning would have the same
 * file.
 */
static __always_inline bool is_second_probe(const struct call_key *key, const struct call *call)
{
	struct call *known;
	__u16 lib = call->site >> SITE_LIB_SHIFT;

	if (!settings.several_files)
		return false;
	known = bpf_map_lookup_elem(&calls, key);
	return known && known->ssl == call->ssl && known->buf == call->buf &&
	       lib != (__u16)(known->site >> SITE_LIB_SHIFT);
}

static __always_inline int enter_call(struct pt_regs *ctx)
{
	struct call_key key = { .thread = current_thread(), .sp = PT_REGS_SP(ctx) };
	struct call call = {};
	struct conn_key conn_key;
	struct conn *conn;
	bool joined;

	if (!is_wanted(key.thread >> 32))
		return 0;
	call.site = site_of(ctx);
	if (!call.site)
		return 0;
	call.ssl = object_of(PT_REGS_PARM1(ctx));
	call.buf = PT_REGS_PARM2(ctx);
	call.count_ptr = PT_REGS_PARM4(ctx);
	call.start_ns = bpf_ktime_get_boot_ns();
	conn_key = conn_key_of(key.thread >> 32, call.ssl);
	/* Data on an object never seen before, unless by a function that begins a connection. */
	joined = site_kind(call.site) != SITE_HANDSHAKE && !site_role(call.site);
	conn = conn_of(&conn_key, call.site, joined);
	if (is_second_probe(&key, &call))
		return 0;
	if (conn)
		enter_conn(conn, &call, &key);
	if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY))
		count(COUNT_CALL_TABLE_FULL);
	return 0;
}

/* ---- Return: data ---- */

static __always_inline void send_gap(const struct conn_key *key, struct conn *conn, __u64 site,
				     __u64 at, __u64 len, __u32 cause)
{
	struct event_gap *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	__u32 dir = site_dir(site);

	/* Without it the recorder still sees the hole, by the offset of what follows or by the
	 * final length; only the cause is lost. */
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	fill_head(&e->head, EVENT_GAP, key, conn);
	e->offset = conn->offset[dir] + at;
	e->len = len;
	e->dir = dir;
	e->cause = cause;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* One chunk into a reservation of constant `size`, as the verifier wants it. */
static __always_inline void send_chunk(struct call *call, const struct conn_key *key,
				       struct conn *conn, __u64 at, __u64 len, __u64 call_len,
				       const __u32 size)
{
	__u64 pending = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	struct event_data *e = NULL;

	if (pending + sizeof(*e) + size + settings.ring_headroom <= settings.ring_size)
		e = bpf_ringbuf_reserve(&ring, sizeof(*e) + size, 0);
	if (!e) {
		count(COUNT_RING_FULL);
		return;
	}
	barrier_var(len);
	if (len > size || bpf_probe_read_user(e + 1, len, (void *)(call->buf + at))) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		count(COUNT_DATA_READ_FAULT);
		send_gap(key, conn, call->site, at, len, GAP_READ_FAULT);
		return;
	}
	fill_head(&e->head, EVENT_DATA, key, conn);
	e->head.func = call->site >> SITE_FUNC_SHIFT;
	e->head.len = len;
	e->offset = conn->offset[site_dir(call->site)] + at;
	e->lat_ns = e->head.ts_ns - call->start_ns;
	e->call_len = call_len;
	e->call_offset = at;
	e->dir = site_dir(call->site);
	e->pad = 0;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/*
 * The chunk at `at` of the call in flight at stack pointer `sp`, of which `rest` bytes are still
 * to be sent. A global function, since the verifier checks such a one once and not for each turn
 * of the loop around it; on kernel 5.8 it may take numbers only, so it looks everything up.
 */
__noinline int chunk_of_call(__u64 sp, __u64 at, __u64 rest, __u64 call_len)
{
	struct call_key key = { .thread = current_thread(), .sp = sp };
	struct call *call = bpf_map_lookup_elem(&calls, &key);
	struct conn_key conn_key;
	struct conn *conn;
	__u64 len = rest < CHUNK_MAX ? rest : CHUNK_MAX;

	if (!call)
		return 0;
	conn_key = conn_key_of(key.thread >> 32, call->ssl);
	conn = bpf_map_lookup_elem(&conns, &conn_key);
	if (!conn)
		return 0;
	if (len <= 256)
		send_chunk(call, &conn_key, conn, at, len, call_len, 256);
	else if (len <= 1024)
		send_chunk(call, &conn_key, conn, at, len, call_len, 1024);
	else if (len <= 2048)
		send_chunk(call, &conn_key, conn, at, len, call_len, 2048);
	else if (len <= 4096)
		send_chunk(call, &conn_key, conn, at, len, call_len, 4096);
	else if (len <= 8192)
		send_chunk(call, &conn_key, conn, at, len, call_len, 8192);
	else
		send_chunk(call, &conn_key, conn, at, len, call_len, CHUNK_MAX);
	return 0;
}

static __always_inline void send_data(const struct call_key *key, const struct conn_key *conn_key,
				      struct conn *conn, __u64 site, __u64 total)
{
	const __u64 most = (__u64)CALL_CHUNKS_MAX * CHUNK_MAX;
	__u64 kept = settings.snaplen && settings.snaplen < total ? settings.snaplen : total;
	__u32 cause = kept < total ? GAP_SNAPLEN : GAP_LONG_CALL;
	__u64 at = 0;

	if (kept > most) {
		kept = most;
		cause = GAP_LONG_CALL;
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < CALL_CHUNKS_MAX; i++) {
		if (at >= kept)
			break;
		chunk_of_call(key->sp, at, kept - at, total);
		at += CHUNK_MAX;
	}
	if (kept < total)
		send_gap(conn_key, conn, site, kept, total - kept, cause);
}

/* The bytes that a call handed over; 0 where it failed or only would have. */
static __always_inline __u64 bytes_done(const struct call *call, struct pt_regs *ctx)
{
	__u64 total = 0;

	if (site_has(call->site, SITE_RESULT_64_SHIFT)) {
		__s64 result = PT_REGS_RC(ctx);

		return result > 0 ? result : 0;
	}

	__s32 result = PT_REGS_RC(ctx);

	if (result <= 0)
		return 0;
	if (!site_has(call->site, SITE_COUNT_PTR_SHIFT))
		return result;
	if (bpf_probe_read_user(&total, sizeof(total), (void *)call->count_ptr)) {
		count(COUNT_LENGTH_READ_FAULT);
		return 0;
	}
	return total;
}

static __always_inline void finish_data(const struct call_key *key, const struct call *call,
					const struct conn_key *conn_key, struct conn *conn,
					struct pt_regs *ctx)
{
	__u64 total = bytes_done(call, ctx);
	__u32 dir = site_dir(call->site);

	if (!total)
		return;
	count(COUNT_CALLS);
	count_add(COUNT_BYTES, total);
	if (!conn) {
		count(COUNT_CONN_TABLE_FULL);
		count_add(COUNT_CONN_TABLE_FULL_BYTES, total);
		return;
	}
	resolve_fd(conn_key, conn);
	if (!conn->announced)
		announce(conn_key, conn);
	if (site_kind(call->site) == SITE_SENDFILE)
		send_gap(conn_key, conn, call->site, 0, total, GAP_SENDFILE);
	else
		send_data(key, conn_key, conn, call->site, total);
	/* Counted here, whether or not the events found room: what is missing shows. */
	conn->offset[dir] += total;
}

/* ---- Return: handshakes, and both ---- */

static __always_inline void finish_handshake(const struct call *call, const struct conn_key *key,
					     struct conn *conn, struct pt_regs *ctx)
{
	__s32 result = PT_REGS_RC(ctx);
	struct event_handshake *e;

	/* Anything but 1 is "try again" or a failure; only the library can tell which. */
	if (!conn || conn->handshake_done || result != 1)
		return;
	conn->handshake_done = 1;
	resolve_fd(key, conn);
	if (!conn->announced)
		announce(key, conn);
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	fill_head(&e->head, EVENT_HANDSHAKE, key, conn);
	e->head.func = call->site >> SITE_FUNC_SHIFT;
	e->lat_ns = e->head.ts_ns - (conn->handshake_ns ?: call->start_ns);
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void unmark_thread(const struct call *call, const struct call_key *key)
{
	if (!call->marked)
		return;
	if (call->outer_ssl)
		bpf_map_update_elem(&current_ssl, &key->thread, &call->outer_ssl, BPF_ANY);
	else
		bpf_map_delete_elem(&current_ssl, &key->thread);
}

static __always_inline int exit_call(struct pt_regs *ctx)
{
	struct call_key key = {
		.thread = current_thread(),
		.sp = PT_REGS_SP(ctx) - RETURN_POPS,
	};
	struct call *call = bpf_map_lookup_elem(&calls, &key);
	struct conn_key conn_key;
	struct conn *conn;
	__u32 slot;

	if (!call)
		return 0;
	conn_key = conn_key_of(key.thread >> 32, call->ssl);
	conn = bpf_map_lookup_elem(&conns, &conn_key);
	slot = site_slot(call->site);
	unmark_thread(call, &key);
	if (conn && slot < SLOTS && conn->wrapper_sp[slot] == key.sp &&
	    conn->wrapper_thread[slot] == key.thread)
		conn->wrapper_sp[slot] = 0;
	if (!call->nested) {
		if (site_kind(call->site) == SITE_HANDSHAKE)
			finish_handshake(call, &conn_key, conn, ctx);
		else
			finish_data(&key, call, &conn_key, conn, ctx);
	}
	bpf_map_delete_elem(&calls, &key);
	return 0;
}

/* ---- Functions of which only the entry matters ---- */

static __always_inline void server_name(const struct conn_key *key, struct conn *conn,
					struct pt_regs *ctx)
{
	struct event_server_name *e;
	long len;

	if ((__u32)PT_REGS_PARM2(ctx) != SSL_CTRL_SET_TLSEXT_HOSTNAME || !PT_REGS_PARM4(ctx))
		return;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	fill_head(&e->head, EVENT_SERVER_NAME, key, conn);
	len = bpf_probe_read_user_str(e->name, sizeof(e->name), (void *)PT_REGS_PARM4(ctx));
	if (len <= 0) {
		count(COUNT_NAME_READ_FAULT);
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	e->head.len = len - 1;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/*
 * The object is made ready for another connection. The library itself does this at the start of
 * each handshake, so it means something only where a connection has been.
 */
static __always_inline void clear(const struct conn_key *key, struct conn *conn)
{
	if (!conn->handshake_done && !has_data(conn))
		return;
	send_close(key, conn);
	conn->born_ns = bpf_ktime_get_boot_ns();
	conn->offset[DIR_SENT] = 0;
	conn->offset[DIR_RECEIVED] = 0;
	conn->handshake_ns = 0;
	conn->handshake_done = 0;
	conn->announced = 0;
	conn->joined = 0;
	conn->shutdown = 0;
	__builtin_memset(&conn->ends, 0, sizeof(conn->ends));
}

static __always_inline void release(const struct conn_key *key, struct conn *conn)
{
	if (conn->refs) {
		conn->refs--;
		return;
	}
	send_close(key, conn);
	bpf_map_delete_elem(&conns, key);
}

/* Functions that tell something of a fresh object create its entry; the others need one. */
static __always_inline bool creates_conn(__u64 site, struct pt_regs *ctx)
{
	switch (site_kind(site)) {
	case SITE_ROLE:
	case SITE_SET_FD:
	case SITE_UP_REF:
		return true;
	case SITE_CTRL:
		return (__u32)PT_REGS_PARM2(ctx) == SSL_CTRL_SET_TLSEXT_HOSTNAME;
	default:
		return false;
	}
}

static __always_inline int enter_note(struct pt_regs *ctx)
{
	__u32 pid = current_thread() >> 32;
	struct conn_key key;
	struct conn *conn;
	__u64 site;

	if (!is_wanted(pid))
		return 0;
	site = site_of(ctx);
	if (!site)
		return 0;
	key = conn_key_of(pid, object_of(PT_REGS_PARM1(ctx)));
	/* A reference may be added at any time in a connection's life. */
	conn = creates_conn(site, ctx) ? conn_of(&key, site, site_kind(site) == SITE_UP_REF)
				       : bpf_map_lookup_elem(&conns, &key);
	if (!conn)
		return 0;
	switch (site_kind(site)) {
	case SITE_ROLE:
		conn->role = site_role(site);
		if (!has_data(conn))
			conn->joined = 0;
		break;
	case SITE_SET_FD:
		conn->fd = PT_REGS_PARM2(ctx);
		break;
	case SITE_CTRL:
		server_name(&key, conn, ctx);
		break;
	case SITE_UP_REF:
		conn->refs++;
		break;
	case SITE_SHUTDOWN:
		conn->shutdown = 1;
		break;
	case SITE_CLEAR:
		clear(&key, conn);
		break;
	case SITE_FREE:
		release(&key, conn);
		break;
	}
	return 0;
}

#endif

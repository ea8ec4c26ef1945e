/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * TLS calls: what happens at the entry and at the exit of a probed function. The site, not the
 * code, says which function it is and what it does; see struct site.
 */
#ifndef SSLREC_TLS_H
#define SSLREC_TLS_H

#include "around.h"

/* On x86 the return address is popped between function entry and return probe. */
#if defined(__TARGET_ARCH_x86)
#define RETURN_POPS 8
#else
#define RETURN_POPS 0
#endif

#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55	/* openssl/tls1.h, the same since 1.0.0 */

static __always_inline __u32 site_by_code(struct pt_regs *ctx)
{
	struct site_key key = { .page_offset = PT_REGS_IP(ctx) & 0xfff };
	__u32 *index;

	if (bpf_probe_read_user(&key.code, sizeof(key.code), (void *)PT_REGS_IP(ctx) + 8))
		return 0;
	index = bpf_map_lookup_elem(&sites_by_code, &key);
	return index ? *index : 0;
}

/* The place of the site in the map `sites`; 0 if it is none. */
static __always_inline __u32 site_index(struct pt_regs *ctx)
{
	__u32 index = settings.have_cookie ? bpf_get_attach_cookie(ctx) : site_by_code(ctx);

	if (!index)
		count(COUNT_UNKNOWN_SITE);
	return index;
}

static __always_inline const struct site *site_at(__u32 index)
{
	return index ? bpf_map_lookup_elem(&sites, &index) : NULL;
}

static __always_inline __u32 slot_of(const struct site *site)
{
	return site->kind == SITE_HANDSHAKE ? SLOT_HANDSHAKE : site->dir & 1;
}

/* ---- Entry ---- */

/* True where an outer call on the same object, thread and slot counts this one's bytes. A stack
 * pointer above the wrapper's means that the wrapper was left without returning. */
static __always_inline bool within_wrapper(const struct conn *conn, const struct site *site,
					   const struct call *call, __u64 sp)
{
	__u32 slot = slot_of(site);

	return conn->wrapper_sp[slot] > sp && conn->wrapper_thread[slot] == call->thread;
}

static __always_inline void enter_conn(struct conn *conn, const struct site *site,
				       struct call *call, __u64 sp)
{
	__u32 slot = slot_of(site);

	if (site->role)
		conn->role = site->role;
	if (site->kind == SITE_HANDSHAKE) {
		if (!has_data(conn))
			conn->joined = 0;
		if (!conn->handshake_ns)
			conn->handshake_ns = call->start_ns;
	}
	if (within_wrapper(conn, site, call, sp)) {
		call->nested = 1;
	} else if (site->wraps) {
		conn->wrapper_sp[slot] = sp;
		conn->wrapper_thread[slot] = call->thread;
	}
}

/* From here on a socket operation on this thread is taken for this call's. */
static __always_inline void mark_thread(struct call *call, __u64 sp)
{
	__u64 *current = bpf_map_lookup_elem(&current_calls, &call->thread);

	call->marked = 1;
	if (current) {
		call->outer_sp = *current;
		*current = sp;
	} else if (bpf_map_update_elem(&current_calls, &call->thread, &sp, BPF_ANY)) {
		count(COUNT_THREAD_TABLE_FULL);
	}
}

/*
 * True where another probe has just taken this very call: one file on two overlay mounts looks
 * like two, and is probed as both. A call that was left without returning would have the same
 * file.
 */
static __always_inline bool is_second_probe(const struct call *known, const struct call *call)
{
	const struct site *site = site_at(call->site);
	const struct site *known_site = site_at(known->site);

	return known->ssl == call->ssl && known->buf == call->buf && site && known_site &&
	       site->lib != known_site->lib;
}

/* Takes a call into the table of those in flight. */
static __always_inline void begin_call(const struct call_key *key, struct call *call)
{
	struct call *known = bpf_map_lookup_elem(&calls, key);

	call->in_flight = CALL_IN_CALLS;
	if (known) {
		/* One that is in flight was left without returning. */
		if (!known->in_flight || !is_second_probe(known, call))
			*known = *call;
		return;
	}
	if (!bpf_map_update_elem(&calls, key, call, BPF_NOEXIST))
		return;
	call->in_flight = CALL_IN_MORE_CALLS;
	known = bpf_map_lookup_elem(&more_calls, key);
	if (known && is_second_probe(known, call))
		return;
	if (bpf_map_update_elem(&more_calls, key, call, BPF_ANY))
		count(COUNT_CALL_TABLE_FULL);
}

static __always_inline void end_call(const struct call_key *key, struct call *call)
{
	bool kept = call->in_flight == CALL_IN_CALLS;

	call->in_flight = CALL_ENDED;
	if (!kept)
		bpf_map_delete_elem(&more_calls, key);
}

static __always_inline __u64 count_ptr_of(struct pt_regs *ctx, const struct site *site)
{
	__u64 fourth = PT_REGS_PARM4(ctx), fifth = PT_REGS_PARM5(ctx);

	/* Or else the compiler chooses between their addresses, which the verifier does not like. */
	barrier_var(fourth);
	barrier_var(fifth);
	return site->count_arg == 5 ? fifth : fourth;
}

static __always_inline int enter_call(struct pt_regs *ctx)
{
	struct call call = { .thread = current_thread() };
	struct call_key key = { .pid = call.thread >> 32 };
	const struct site *site;
	struct conn_key conn_key;
	struct conn *conn;
	bool joined;

	if (!is_wanted(key.pid))
		return 0;
	call.site = site_index(ctx);
	site = site_at(call.site);
	if (!site)
		return 0;
	key.sp = PT_REGS_SP(ctx) + site->frame;
	call.ssl = object_of(PT_REGS_PARM1(ctx));
	call.buf = PT_REGS_PARM2(ctx);
	/* An int or a size_t. */
	call.asked = site->count_arg ? PT_REGS_PARM3(ctx) : (__u32)PT_REGS_PARM3(ctx);
	call.count_ptr = count_ptr_of(ctx, site);
	call.start_ns = bpf_ktime_get_boot_ns();
	conn_key = conn_key_of(key.pid, call.ssl);
	/* Data on an object never seen before, unless by a function that begins a connection. */
	joined = site->kind != SITE_HANDSHAKE && !site->role;
	conn = conn_of(&conn_key, site->lib, joined);
	if (conn) {
		enter_conn(conn, site, &call, key.sp);
		if (settings.have_sock_length && !conn->ends.family)
			mark_thread(&call, key.sp);
	}
	begin_call(&key, &call);
	return 0;
}

/* ---- Exit: data ---- */

static __always_inline void send_gap(const struct conn_key *key, struct conn *conn, __u32 dir,
				     __u64 at, __u64 len, __u32 cause)
{
	struct event_gap *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

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

/* One chunk of a call's bytes. */
struct chunk {
	__u64 at;			/* place within the call */
	__u64 len;
	__u64 call_len;
};

/* Into a reservation of constant `size`, as the verifier wants it. */
static __always_inline void send_chunk_of(const struct call *call, const struct site *site,
					  const struct conn_key *key, struct conn *conn,
					  const struct chunk *chunk, const __u32 size)
{
	__u64 pending = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	__u32 dir = site->dir & 1;
	struct event_data *e = NULL;
	__u64 len = chunk->len;

	if (pending + sizeof(*e) + size + settings.ring_headroom <= settings.ring_size)
		e = bpf_ringbuf_reserve(&ring, sizeof(*e) + size, 0);
	if (!e) {
		count(COUNT_RING_FULL);
		return;
	}
	barrier_var(len);
	if (len > size || bpf_probe_read_user(e + 1, len, (void *)(call->buf + chunk->at))) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		count(COUNT_DATA_READ_FAULT);
		send_gap(key, conn, dir, chunk->at, len, GAP_READ_FAULT);
		return;
	}
	fill_head(&e->head, EVENT_DATA, key, conn);
	e->head.func = site->func;
	e->head.len = len;
	e->offset = conn->offset[dir] + chunk->at;
	e->lat_ns = e->head.ts_ns - call->start_ns;
	e->call_len = chunk->call_len;
	e->call_offset = chunk->at;
	e->dir = dir;
	e->pad = 0;
	bpf_ringbuf_submit(e, wakeup_at(pending));
}

static __always_inline void send_chunk(const struct call *call, const struct site *site,
				       const struct conn_key *key, struct conn *conn,
				       const struct chunk *chunk)
{
	if (chunk->len <= 256)
		send_chunk_of(call, site, key, conn, chunk, 256);
	else if (chunk->len <= 1024)
		send_chunk_of(call, site, key, conn, chunk, 1024);
	else if (chunk->len <= 2048)
		send_chunk_of(call, site, key, conn, chunk, 2048);
	else if (chunk->len <= 4096)
		send_chunk_of(call, site, key, conn, chunk, 4096);
	else if (chunk->len <= 8192)
		send_chunk_of(call, site, key, conn, chunk, 8192);
	else
		send_chunk_of(call, site, key, conn, chunk, CHUNK_MAX);
}

/*
 * The chunk at `at` of the call in flight with key (`sp`, `depth`), of which `rest` bytes are still
 * to be sent. A global function, since the verifier checks such a one once and not for each turn
 * of the loops around it; on kernel 5.8 it may take numbers only, so it looks everything up.
 */
__noinline int chunk_of_call(__u64 sp, __u32 depth, __u64 at, __u64 rest, __u64 call_len)
{
	struct call_key key = { .sp = sp, .pid = current_thread() >> 32, .depth = depth };
	struct call *call = call_at(&key);
	struct chunk chunk = {
		.at = at,
		.len = rest < CHUNK_MAX ? rest : CHUNK_MAX,
		.call_len = call_len,
	};
	const struct site *site;
	struct conn_key conn_key;
	struct conn *conn;

	if (!call)
		return 0;
	site = site_at(call->site);
	conn_key = conn_key_of(key.pid, call->ssl);
	conn = bpf_map_lookup_elem(&conns, &conn_key);
	if (site && conn)
		send_chunk(call, site, &conn_key, conn, &chunk);
	return 0;
}

/* The verifier walks through every turn of a loop, so one loop over all the chunks of the longest
 * call would cost it most of a second: rounds of them, in a function that is checked once. */
#define ROUND_CHUNKS 64
_Static_assert(CALL_CHUNKS_MAX % ROUND_CHUNKS == 0, "rounds");

__noinline int round_of_chunks(__u64 sp, __u32 depth, __u64 at, __u64 kept, __u64 call_len)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUND_CHUNKS; i++) {
		if (at >= kept)
			break;
		chunk_of_call(sp, depth, at, kept - at, call_len);
		at += CHUNK_MAX;
	}
	return 0;
}

static __always_inline void send_data(const struct call_key *call_key, const struct call *call,
				      const struct site *site, const struct conn_key *key,
				      struct conn *conn, __u64 total)
{
	const __u64 most = (__u64)CALL_CHUNKS_MAX * CHUNK_MAX;
	__u64 kept = settings.snaplen && settings.snaplen < total ? settings.snaplen : total;
	__u32 cause = kept < total ? GAP_SNAPLEN : GAP_LONG_CALL;
	struct chunk whole = { .len = kept, .call_len = total };
	__u64 at = 0;

	if (kept > most) {
		kept = most;
		cause = GAP_LONG_CALL;
	}
	if (kept <= CHUNK_MAX) {
		send_chunk(call, site, key, conn, &whole);
	} else {
#pragma clang loop unroll(disable)
		for (int i = 0; i < CALL_CHUNKS_MAX / ROUND_CHUNKS; i++) {
			if (at >= kept)
				break;
			round_of_chunks(call_key->sp, call_key->depth, at, kept, total);
			at += ROUND_CHUNKS * CHUNK_MAX;
		}
	}
	if (kept < total)
		send_gap(key, conn, site->dir & 1, kept, total - kept, cause);
}

/* The bytes that a call handed over; 0 where it failed or only would have. */
static __always_inline __u64 bytes_done(const struct call *call, const struct site *site,
					__s64 result)
{
	__u64 total;

	if (!site->result_64)
		result = (__s32)result;
	if (result <= 0)
		return 0;
	total = result;
	if (site->kind == SITE_SENDFILE)
		return total;
	if (site->count_arg &&
	    bpf_probe_read_user(&total, sizeof(total), (void *)call->count_ptr)) {
		count(COUNT_LENGTH_READ_FAULT);
		return 0;
	}
	/* A site that is not what it was taken for: better nothing than wrong bytes. */
	if (total > call->asked) {
		count(COUNT_IMPOSSIBLE_RESULT);
		return 0;
	}
	return total;
}

static __always_inline void finish_data(const struct call_key *call_key,
					const struct call *call, const struct site *site,
					const struct conn_key *key,
					struct conn *conn, __u64 total)
{
	count(COUNT_CALLS);
	count_add(COUNT_BYTES, total);
	if (!conn) {
		count(COUNT_CONN_TABLE_FULL);
		count_add(COUNT_CONN_TABLE_FULL_BYTES, total);
		return;
	}
	resolve_fd(key, conn);
	if (!conn->announced)
		announce(key, conn);
	if (site->kind == SITE_SENDFILE)
		send_gap(key, conn, DIR_SENT, 0, total, GAP_SENDFILE);
	else
		send_data(call_key, call, site, key, conn, total);
	/* Counted here, whether or not the events found room: what is missing shows. */
	conn->offset[site->dir & 1] += total;
}

/* ---- Exit: handshakes, and all ---- */

static __always_inline void finish_handshake(const struct call *call, const struct site *site,
					     const struct conn_key *key, struct conn *conn,
					     __s32 result)
{
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
	e->head.func = site->func;
	e->lat_ns = e->head.ts_ns - (conn->handshake_ns ?: call->start_ns);
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* The thread goes back to the call around this one, unless the program switched stacks in mid-call
 * and another call runs there by now. */
static __always_inline void unmark_thread(const struct call *call, __u64 sp)
{
	__u64 *current = bpf_map_lookup_elem(&current_calls, &call->thread);

	if (current && *current == sp)
		*current = call->outer_sp;
}

static __always_inline __s64 result_at(struct pt_regs *ctx, const struct site *site)
{
	__s64 value = 0;

#if defined(__TARGET_ARCH_x86)
	switch (site->result) {
	case RESULT_AX:
		return ctx->ax;
	case RESULT_BX:
		return ctx->bx;
	case RESULT_BP:
		return ctx->bp;
	case RESULT_R12:
		return ctx->r12;
	case RESULT_R13:
		return ctx->r13;
	case RESULT_R14:
		return ctx->r14;
	case RESULT_R15:
		return ctx->r15;
	case RESULT_GUARDED:
		if ((__s32)ctx->ax <= 0)
			return (__s32)ctx->ax;
	}
#endif
	if (bpf_probe_read_user(&value, sizeof(value), (void *)PT_REGS_SP(ctx) + site->slot))
		count(COUNT_LENGTH_READ_FAULT);
	return value;
}

/* A call that began at `sp` is over. Only its first crossing of an exit site finds it in the table;
 * `exit` is that site, or NULL for a return probe. */
static __always_inline int exit_call(struct pt_regs *ctx, __u64 sp, const struct site *exit)
{
	struct call_key key = { .sp = sp, .pid = current_thread() >> 32 };
	struct call *call = call_at(&key);
	const struct site *site;
	struct conn_key conn_key;
	struct conn *conn = NULL;
	__u64 total = 0;
	__s64 result;

	if (!call)
		return 0;
	site = site_at(call->site);
	if (!site)
		return 0;
	result = exit ? result_at(ctx, exit) : PT_REGS_RC(ctx);
	if (site->kind != SITE_HANDSHAKE)
		total = bytes_done(call, site, result);
	if (call->marked) {
		unmark_thread(call, sp);
		call_ended(call, site, key.pid, total > 0);
	}
	/* A read that found nothing has nothing to say of its connection. */
	if (total || site->wraps || site->kind == SITE_HANDSHAKE) {
		conn_key = conn_key_of(key.pid, call->ssl);
		conn = bpf_map_lookup_elem(&conns, &conn_key);
		if (conn && site->wraps && conn->wrapper_sp[slot_of(site)] == sp)
			conn->wrapper_sp[slot_of(site)] = 0;
		if (site->kind == SITE_HANDSHAKE && !call->nested)
			finish_handshake(call, site, &conn_key, conn, result);
		if (total && !call->nested)
			finish_data(&key, call, site, &conn_key, conn, total);
	}
	end_call(&key, call);
	return 0;
}

/* By a probe at an exit site. */
static __always_inline int leave_call(struct pt_regs *ctx)
{
	const struct site *exit = site_at(site_index(ctx));

	return exit ? exit_call(ctx, PT_REGS_SP(ctx) + exit->frame, exit) : 0;
}

/* By a return probe. */
static __always_inline int return_from_call(struct pt_regs *ctx)
{
	return exit_call(ctx, PT_REGS_SP(ctx) - RETURN_POPS, NULL);
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
static __always_inline bool creates_conn(const struct site *site, struct pt_regs *ctx)
{
	switch (site->kind) {
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
	const struct site *site;
	struct conn *conn;

	if (!is_wanted(pid))
		return 0;
	site = site_at(site_index(ctx));
	if (!site)
		return 0;
	key = conn_key_of(pid, object_of(PT_REGS_PARM1(ctx)));
	/* A reference may be added at any time in a connection's life. */
	conn = creates_conn(site, ctx) ? conn_of(&key, site->lib, site->kind == SITE_UP_REF)
				       : bpf_map_lookup_elem(&conns, &key);
	if (!conn)
		return 0;
	switch (site->kind) {
	case SITE_ROLE:
		if (site->role)
			conn->role = site->role;
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

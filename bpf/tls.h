/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * TLS calls: what happens at the entry and at the exit of a probed function. The site, not the
 * code, says which function it is and what it does; see struct site. What only tells something
 * is in notes.h (by its entry) and answers.h (by its exit); what becomes of the bytes of a call, in
 * payload.h.
 */
#ifndef SSLREC_TLS_H
#define SSLREC_TLS_H

#include "answers.h"
#include "around.h"
#include "nspr.h"
#include "payload.h"

/* On x86 the return address is popped between function entry and return probe. */
#if defined(__TARGET_ARCH_x86)
#define RETURN_POPS 8
#else
#define RETURN_POPS 0
#endif

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

/*
 * Whether a data call may end the handshake and nothing would tell: the call need not hand over any
 * bytes, nor succeed, since a read goes on to wait for data. But where the calls use a socket
 * themselves and all its operations are seen, what ends a handshake is sent or received there.
 */
static __always_inline bool may_shake_unseen(const struct conn *conn, const struct call *call)
{
	return !call->marked || !conn->direct || sockets_seen != SOCKETS_ALL;
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
	} else if (may_shake_unseen(conn, call)) {
		conn->handshake_unsure = 1;
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

	if (current) {
		call->outer_sp = *current;
		*current = sp;
	} else if (bpf_map_update_elem(&current_calls, &call->thread, &sp, BPF_ANY)) {
		count(COUNT_THREAD_TABLE_FULL);
		return;
	}
	call->marked = 1;
}

/* Whether a socket operation within the call would tell something: the connection's address or,
 * where the handshake has failed so far, that a data call may have ended it after all. */
static __always_inline bool may_learn_by_socket(const struct conn *conn, const struct site *site)
{
	return !conn->ends.family || (site->kind != SITE_HANDSHAKE && handshake_failed(conn));
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

/*
 * True where a call that wraps others ended with a jump into this one: it counts. It must be the
 * same bytes, since a call that was left without returning looks alike.
 */
static __always_inline bool is_tail_of(const struct call *known, const struct call *call)
{
	const struct site *site = site_at(call->site);
	const struct site *known_site = site_at(known->site);

	return known->ssl == call->ssl && known->thread == call->thread && site && known_site &&
	       known_site->wraps && site->func != known_site->func &&
	       site->kind == known_site->kind && slot_of(site) == slot_of(known_site) &&
	       (site->kind == SITE_HANDSHAKE || known->buf == call->buf);
}

/* Takes a call into the table of those in flight. */
static __always_inline void begin_call(const struct call_key *key, struct call *call)
{
	struct call *known = bpf_map_lookup_elem(&calls, key);

	call->in_flight = CALL_IN_CALLS;
	if (known) {
		/* Any other that is in flight was left without returning. */
		if (!known->in_flight ||
		    (!is_second_probe(known, call) && !is_tail_of(known, call)))
			*known = *call;
		return;
	}
	if (!bpf_map_update_elem(&calls, key, call, BPF_NOEXIST))
		return;
	call->in_flight = CALL_IN_MORE_CALLS;
	known = bpf_map_lookup_elem(&more_calls, key);
	if (known && (is_second_probe(known, call) || is_tail_of(known, call)))
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

/* Whether a call is on a connection, rather than one that makes or describes it. */
static __always_inline bool is_of_conn(const struct site *site)
{
	return site->kind != SITE_MAKE && site->kind != SITE_ASK;
}

/* Whether there is nothing in this call to be recorded. */
static __always_inline bool is_no_tls(struct pt_regs *ctx, const struct site *site, __u32 pid)
{
	/* PR_MSG_PEEK of NSPR is the same. */
	if (site->flags & SITE_PEEKS && PT_REGS_PARM4(ctx) & MSG_PEEK)
		return true;
	return site->flags & SITE_NSPR && !has_tls_layer(pid, PT_REGS_PARM1(ctx));
}

static __always_inline void enter_on_conn(const struct call_key *key, struct call *call,
					  const struct site *site)
{
	struct conn_key conn_key = conn_key_of(key->pid, call->ssl);
	/* Data on an object never seen before, unless by a function that begins a connection. */
	bool joined = site->kind != SITE_HANDSHAKE && !site->role;
	struct conn *conn = conn_of(&conn_key, site->lib, joined);

	if (!conn)
		return;
	if (sockets_seen && may_learn_by_socket(conn, site))
		mark_thread(call, key->sp);
	enter_conn(conn, site, call, key->sp);
	/* Where no handshake was seen, the other end may be quicker to report what this call sends than
	 * this one is to return: which end is the client's should be known by then. */
	if (site->kind != SITE_HANDSHAKE && !conn->announced)
		resolve_fd(&conn_key, conn);
	if (site->kind == SITE_SENDFILE)
		call->buf = conn->offset[DIR_SENT];
}

static __always_inline int enter_call(struct pt_regs *ctx)
{
	struct call call = { .thread = current_thread() };
	struct call_key key = { .pid = call.thread >> 32 };
	__u64 third = PT_REGS_PARM3(ctx);
	const struct site *site;

	/* As in argument(). */
	barrier_var(third);
	if (!is_wanted(key.pid))
		return 0;
	call.site = site_index(ctx);
	site = site_at(call.site);
	if (!site || is_no_tls(ctx, site, key.pid))
		return 0;
	key.sp = PT_REGS_SP(ctx) + site->frame;
	call.ssl = object_of(PT_REGS_PARM1(ctx));
	call.buf = PT_REGS_PARM2(ctx);
	call.start_ns = bpf_ktime_get_boot_ns();
	if (is_of_conn(site)) {
		/* An int or a size_t. */
		call.asked = site->count_arg || site->result_64 ? third : (__u32)third;
		call.count_ptr = argument(ctx, site->count_arg);
		enter_on_conn(&key, &call, site);
	} else {
		call.asked = role_told(ctx, site);
		call.count_ptr = third;
	}
	begin_call(&key, &call);
	return 0;
}

/* ---- Exit: data ---- */

/* The bytes that a call handed over; 0 where it failed or only would have. */
static __always_inline __u64 bytes_done(const struct call *call, const struct site *site,
					__s64 result)
{
	__u64 total;

	if (!site->result_64)
		result = (__s32)result;
	if (site->kind == SITE_FLUSH)
		return 0;
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
	if (!(site->flags & (SITE_VECTOR | SITE_PACKET)) && total > call->asked) {
		count(COUNT_IMPOSSIBLE_RESULT);
		return 0;
	}
	return total;
}

/* What gnutls_packet_t points to has these after two pointers: mbuffer_st, which is not public, but
 * the same since there are packets (GnuTLS 3.3.5). */
#define PACKET_BYTES_AT 16

struct packet_bytes {
	__u64 mark;			/* so many of them are no longer of interest */
	struct datum all;
};

/* Where the bytes of a packet are. 0, where nothing can be read, if it is not made like that: then
 * they are stated as a gap. */
static __always_inline __u64 packet_at(__u64 pointer, __u64 total)
{
	struct packet_bytes bytes;
	__u64 packet;

	if (bpf_probe_read_user(&packet, sizeof(packet), (void *)pointer) ||
	    bpf_probe_read_user(&bytes, sizeof(bytes), (void *)packet + PACKET_BYTES_AT) ||
	    bytes.all.len != bytes.mark + total)
		return 0;
	return bytes.all.data + bytes.mark;
}

/* `is_vector` says that the buffer is an array of buffers. */
static __always_inline void finish_data(const struct call_key *call_key,
					const struct call *call, const struct site *site,
					const struct conn_key *key,
					struct conn *conn, __u64 total, bool is_vector)
{
	if (conn && site->kind == SITE_SENDFILE) {
		__u64 carried = conn->offset[DIR_SENT] - call->buf;

		if (carried >= total)
			return;
		total -= carried;
	}
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
		send_data(call_key, call, site, key, conn, total, is_vector);
	/* Counted here, whether or not the events found room: what is missing shows. */
	conn->offset[site->dir & 1] += total;
}

/* ---- Exit: handshakes, and all ---- */

static __always_inline void finish_handshake(const struct site *site, const struct conn_key *key,
					     struct conn *conn, __s32 result)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();

	if (!conn || conn->handshake_done)
		return;
	/* Now, for the program may close the descriptor before it releases the object. */
	resolve_fd(key, conn);
	if (result != site->success) {
		conn->handshake_end_ns = now_ns;
		conn->handshake_result = result;
		conn->handshake_func = site->func;
		return;
	}
	conn->handshake_done = 1;
	send_handshake(key, conn, now_ns, site->func, result, true);
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
	if (!is_of_conn(site)) {
		answer(call, site, key.pid, result);
		end_call(&key, call);
		return 0;
	}
	if (site->kind != SITE_HANDSHAKE)
		total = bytes_done(call, site, result);
	if (total && site->flags & SITE_PACKET)
		call->buf = packet_at(call->buf, total);
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
			finish_handshake(site, &conn_key, conn, result);
		if (total && !call->nested)
			finish_data(&key, call, site, &conn_key, conn, total,
				    site->flags & SITE_VECTOR);
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

#endif

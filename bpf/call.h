/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * TLS calls: the entry and the exit of a probed function. The kind of a function is in its site,
 * not in the code; see struct site. The other functions are in entry_only.h and getters.h, and the
 * copy of a call's bytes is in payload.h.
 */
#ifndef SSLREC_CALL_H
#define SSLREC_CALL_H

#include "addr.h"
#include "getters.h"
#include "infer_addr.h"
#include "nspr.h"
#include "payload.h"
#include "trial.h"

/* ---- Entry ---- */

/* Returns true if an outer call on the same object, thread and slot counts the bytes of this call.
 * A stack pointer above the wrapper's means that the wrapper never returned. */
static __always_inline bool within_wrapper(const struct conn *conn, const struct site *site,
					   const struct call *call, __u64 sp)
{
	__u32 slot = slot_of(site);

	return conn->wrapper_sp[slot] > sp && conn->wrapper_thread[slot] == call->thread;
}

/*
 * Returns whether a data call may end the handshake unseen. The call need not return any bytes, nor
 * succeed, since a read then waits for data. But where the calls use a socket themselves and all
 * its operations are seen, the end of a handshake is sent or received there.
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
	} else if (site->flags & SITE_WRAPS) {
		conn->wrapper_sp[slot] = sp;
		conn->wrapper_thread[slot] = call->thread;
	}
}

/* From here on a socket operation on this thread belongs to this call. */
static __always_inline void mark_thread(struct call *call, __u64 sp)
{
	__u64 *current = bpf_map_lookup_elem(&current_calls, &call->thread);

	if (current) {
		/* A call that another probe has already recorded, or that never returned, is not
		 * its own outer call. */
		call->outer_sp = *current == sp ? 0 : *current;
		*current = sp;
	} else if (bpf_map_update_elem(&current_calls, &call->thread, &sp, BPF_ANY)) {
		count(COUNT_THREAD_TABLE_FULL);
		return;
	}
	call->marked = 1;
}

/* Returns whether a socket operation within the call is of interest: for the connection's address
 * or, if the handshake has failed so far, because a data call may have ended it after all. */
static __always_inline bool may_learn_by_socket(const struct conn *conn, const struct site *site)
{
	return !conn->ends.family || (site->kind != SITE_HANDSHAKE && handshake_failed(conn));
}

static __always_inline bool is_getter(const struct site *site)
{
	return site->kind == SITE_CREATE || site->kind == SITE_GET;
}

/* Stores the object and the arguments that the exit of the call needs. */
static __always_inline void keep_args(struct call *call, struct pt_regs *ctx,
				      const struct site *site)
{
	__u64 first = PT_REGS_PARM1(ctx), second = PT_REGS_PARM2(ctx), third = PT_REGS_PARM3(ctx);

	/* As in argument(). */
	barrier_var(first);
	barrier_var(second);
	barrier_var(third);
	if (site->kind == SITE_CREATE) {
		call->args.create.out = first;
		call->args.create.role = role_of_call(ctx, site);
		return;
	}
	call->ssl = object_of(first);
	switch (site->kind) {
	case SITE_GET:
		call->args.get.out = second;
		call->args.get.out_len = third;
		break;
	case SITE_DATA:
	case SITE_FLUSH:
		call->args.data.buf = second;
		/* An int or a size_t. */
		call->args.data.len = site->count_arg || site->result_64 ? third : (__u32)third;
		call->args.data.count_ptr = argument(ctx, site->count_arg);
		break;
	}
}

static __always_inline void enter_on_conn(const struct call_key *key, struct call *call,
					  const struct site *site)
{
	struct conn_key conn_key = conn_key_of(key->pid, call->ssl);
	/* Data on an object never seen before, unless the function begins a connection. */
	bool joined = site->kind != SITE_HANDSHAKE && !site->role;
	struct conn *conn = conn_of(&conn_key, site->lib, joined);

	if (!conn)
		return;
	if (sockets_seen && may_learn_by_socket(conn, site))
		mark_thread(call, key->sp);
	enter_conn(conn, site, call, key->sp);
	/* Where no handshake was seen, the other end may report the bytes of this call before the
	 * call returns, and needs to have the role of the client by then. */
	if (site->kind != SITE_HANDSHAKE && !conn->announced)
		resolve_fd(&conn_key, conn);
	if (site->kind == SITE_SENDFILE)
		call->args.sendfile.offset = conn->offset[DIR_SENT];
}

static __always_inline int enter_call(struct pt_regs *ctx)
{
	struct call call = { .thread = current_thread() };
	struct call_key key = { .pid = call.thread >> 32 };
	const struct site *site;

	if (!is_wanted(key.pid))
		return 0;
	call.site = site_index(ctx);
	site = site_at(call.site);
	if (!site || is_ignored(ctx, site, key.pid))
		return 0;
	key.sp = PT_REGS_SP(ctx) + site->frame;
	call.start_ns = bpf_ktime_get_boot_ns();
	keep_args(&call, ctx, site);
	if (!records(site)) {
		if (site->trial_side == TRIAL_PLACED)
			try_entry(&call, &key, site);
		return 0;
	}
	/* A single probe is the entry probe and the placed entry site. */
	if (site->trial && site->trial_side == TRIAL_BOTH)
		call.trial_steps = TRIAL_ENTERED;
	if (!is_getter(site))
		enter_on_conn(&key, &call, site);
	begin_call(&key, &call);
	return 0;
}

/* ---- Exit: data ---- */

/* Returns the number of bytes that a call read or wrote; 0 if it failed. */
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
	    bpf_probe_read_user(&total, sizeof(total), (void *)call->args.data.count_ptr)) {
		count(COUNT_LENGTH_READ_FAULT);
		return 0;
	}
	/* Not the expected function: recording nothing is better than recording wrong bytes. */
	if (!(site->flags & (SITE_VECTOR | SITE_PACKET)) && total > call->args.data.len) {
		count(COUNT_IMPOSSIBLE_RESULT);
		return 0;
	}
	return total;
}

/* These fields follow two pointers in *gnutls_packet_t: mbuffer_st, which is not public, but
 * unchanged since packets were introduced (GnuTLS 3.3.5). */
#define PACKET_BYTES_AT 16

struct packet_bytes {
	__u64 mark;			/* bytes already consumed */
	struct datum all;
};

/* Returns the address of a packet's bytes, or 0, where nothing can be read, if its layout is
 * unknown: the bytes then become a gap. */
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

/* `is_vector` is set if the buffer is an array of buffers. */
static __always_inline void finish_data(const struct call_key *call_key,
					struct call *call, const struct site *site,
					const struct conn_key *key,
					struct conn *conn, __u64 total, bool is_vector)
{
	if (conn && site->kind == SITE_SENDFILE) {
		__u64 carried = conn->offset[DIR_SENT] - call->args.sendfile.offset;

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
	/* Before any event of this call is reserved: a stream is longer only once the events of its
	 * bytes were reserved, so that these come first. */
	call->other_length = length_of(conn, site->dir == DIR_SENT ? DIR_RECEIVED : DIR_SENT);
	if (site->kind == SITE_SENDFILE)
		send_gap(call, key, conn, DIR_SENT, 0, total, GAP_SENDFILE);
	else
		send_data(call_key, call, site, key, conn, total, is_vector);
	/* Counted even if the events found no room, so that missing bytes show as a hole. */
	conn->offset[site->dir & 1] += total;
}

/* ---- Exit: handshakes, and all ---- */

static __always_inline void finish_handshake(const struct site *site, const struct conn_key *key,
					     struct conn *conn, __s32 result)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();

	if (!conn || conn->handshake_done)
		return;
	/* Resolved now, since the program may close the descriptor before it releases the
	 * object. */
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

/* Returns the thread to the outer call, unless the program switched stacks during the call and
 * another call now runs there. */
static __always_inline void unmark_thread(const struct call *call, __u64 sp)
{
	__u64 *current = bpf_map_lookup_elem(&current_calls, &call->thread);

	if (current && *current == sp)
		*current = call->outer_sp;
}

static __always_inline __s64 result_at(struct pt_regs *ctx, const struct site *site)
{
	__s64 value = 0;

	if (result_in_register(ctx, site->result, &value))
		return value;
	if (bpf_probe_read_user(&value, sizeof(value), (void *)PT_REGS_SP(ctx) + site->slot))
		count(COUNT_LENGTH_READ_FAULT);
	return value;
}

/* Ends a call that began at `sp`. Only the first exit site on its way finds the call in the table.
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
	if (!exit)
		judge(call, site, result);
	if (is_getter(site)) {
		getter_returned(call, site, key.pid, result);
		end_call(&key, call);
		return 0;
	}
	if (site->kind != SITE_HANDSHAKE)
		total = bytes_done(call, site, result);
	if (total && site->flags & SITE_PACKET)
		call->args.data.buf = packet_at(call->args.data.buf, total);
	if (call->marked) {
		unmark_thread(call, sp);
		call_ended(call, site, key.pid, total > 0);
	}
	/* A read that returned nothing does not concern its connection. */
	if (total || site->flags & SITE_WRAPS || site->kind == SITE_HANDSHAKE) {
		conn_key = conn_key_of(key.pid, call->ssl);
		conn = bpf_map_lookup_elem(&conns, &conn_key);
		if (conn && site->flags & SITE_WRAPS && conn->wrapper_sp[slot_of(site)] == sp)
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

/* A function of its own, since kernels before 6.13 give a program and all that it calls 512 bytes
 * of stack, which exit_call() needs. */
static __noinline int leave_call_on_trial(struct pt_regs *ctx, const struct site *exit)
{
	struct call_key key = {
		.sp = PT_REGS_SP(ctx) + exit->frame,
		.pid = current_thread() >> 32,
	};

	try_exit(&key, exit, result_at(ctx, exit));
	return 0;
}

/* Called by a probe at an exit site. */
static __always_inline int leave_call(struct pt_regs *ctx)
{
	const struct site *exit = site_at(site_index(ctx));

	if (!exit)
		return 0;
	if (!records(exit))
		return leave_call_on_trial(ctx, exit);
	return exit_call(ctx, PT_REGS_SP(ctx) + exit->frame, exit);
}

/* Called by a return probe. */
static __always_inline int return_from_call(struct pt_regs *ctx)
{
	return exit_call(ctx, PT_REGS_SP(ctx) - RETURN_POPS, NULL);
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Addresses of connections whose program passes TLS data through memory and does the socket I/O
 * itself, between the calls: Node.js, Python's asyncio. They are inferred from the thread's
 * operations around the calls, and marked as inferred.
 *
 * Two observations are evidence for a socket: it was the last to return bytes before a call that
 * consumed some, or it was the first to receive bytes after a call that produced some. Each such
 * event is a vote, and a receive votes once. An address is accepted once it leads by VOTES_ENOUGH
 * votes: at least that many agreed, and every contrary vote has been outvoted. A TLS handshake
 * alone yields as many. Until then, and while votes keep disagreeing, the address is unknown rather
 * than wrong.
 *
 * Connections whose calls use a socket themselves never get here. They are recognised only where
 * sends are seen too, so nothing is inferred without sends.
 */
#ifndef SSLREC_INFER_ADDR_H
#define SSLREC_INFER_ADDR_H

#include "addr.h"

#define VOTES_ENOUGH 3

static __always_inline bool are_same(const struct endpoints *a, const struct endpoints *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	_Static_assert(sizeof(*a) == 5 * sizeof(*x), "endpoints are compared in five words");
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

static __always_inline bool needs_guess(const struct conn *conn)
{
	return sockets_seen == SOCKETS_ALL && !conn->ends.family && !conn->direct;
}

/* Counts a vote by the majority algorithm of Boyer and Moore: one candidate at a time, with its
 * lead. */
static __always_inline void vote(const struct conn_key *key, struct conn *conn,
				 const struct endpoints *ends)
{
	struct guess *guess = bpf_map_lookup_elem(&guesses, key);
	struct guess first = {};

	if (!guess || guess->born_ns != conn->born_ns) {
		first.ends = *ends;
		first.born_ns = conn->born_ns;
		first.votes = 1;
		if (bpf_map_update_elem(&guesses, key, &first, BPF_ANY))
			count(COUNT_THREAD_TABLE_FULL);
		return;
	}
	if (!are_same(&guess->ends, ends)) {
		if (guess->votes)
			guess->votes--;
		else
			guess->ends = *ends;
		return;
	}
	if (++guess->votes < VOTES_ENOUGH)
		return;
	conn->ends = guess->ends;
	conn->ends.inferred = 1;
	announce(key, conn);
	bpf_map_delete_elem(&guesses, key);
}

/* Handles a socket operation outside of any TLS call on a thread that makes such calls. */
static __always_inline void socket_used_outside(__u64 thread, struct sock *sk, bool sent)
{
	struct thread_io *io = bpf_map_lookup_elem(&thread_ios, &thread);
	struct endpoints ends __attribute__((aligned(8))) = {};
	struct conn *conn;

	/* Sockets other than TCP may come in between and are ignored. */
	if (!io || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM || !read_endpoints(&ends, sk))
		return;
	if (!sent) {
		io->received = ends;
		/* A new sequence begins: earlier written bytes were not sent by this operation. */
		io->has_written = 0;
		return;
	}
	if (!io->has_written)
		return;
	io->has_written = 0;
	conn = bpf_map_lookup_elem(&conns, &io->writer);
	if (conn && conn->born_ns == io->writer_born_ns && needs_guess(conn))
		vote(&io->writer, conn, &ends);
}

/* Handles a socket operation; `moved`: the operation sent or received bytes. A thread on which no
 * call was ever marked (may_learn_by_socket()) returns after the first look-up. */
static __always_inline void socket_used(struct sock *sk, bool sent, bool moved)
{
	__u64 thread = current_thread();
	__u64 *sp = bpf_map_lookup_elem(&current_calls, &thread);

	if (!sp)
		return;
	if (*sp)
		socket_used_within(thread, *sp, sk, moved);
	else if (moved)
		socket_used_outside(thread, sk, sent);
}

static __always_inline struct thread_io *thread_io_of(__u64 thread)
{
	struct thread_io *known = bpf_map_lookup_elem(&thread_ios, &thread);
	struct thread_io none = {};

	if (known)
		return known;
	if (bpf_map_update_elem(&thread_ios, &thread, &none, BPF_ANY))
		count(COUNT_THREAD_TABLE_FULL);
	return bpf_map_lookup_elem(&thread_ios, &thread);
}

/* Handles the end of a marked call; of interest if the address is unknown. `done`: the call read or
 * wrote bytes. A step of the handshake consumes and produces bytes in any case, and every call is
 * such a step until data has passed. */
static __always_inline void call_ended(const struct call *call, const struct site *site, __u32 pid,
				       bool done)
{
	struct conn_key key = conn_key_of(pid, call->ssl);
	struct conn *conn = bpf_map_lookup_elem(&conns, &key);
	struct thread_io *io;
	bool step;

	if (!conn || !needs_guess(conn))
		return;
	step = site->kind == SITE_HANDSHAKE || !has_data(conn);
	io = thread_io_of(call->thread);
	if (!io)
		return;
	if (step || site->dir == DIR_RECEIVED) {
		if (io->received.family && (step || done))
			vote(&key, conn, &io->received);
		/* Cleared even without a vote: the received bytes were not for the next call. */
		io->received.family = 0;
	}
	if (step || (site->dir == DIR_SENT && done)) {
		io->writer = key;
		io->writer_born_ns = conn->born_ns;
		io->has_written = 1;
	}
}

#endif

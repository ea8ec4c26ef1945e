/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Copies the bytes of a call into the ring, once: in chunks, from one or several buffers, and as a
 * gap where they cannot be read.
 */
#ifndef SSLREC_PAYLOAD_H
#define SSLREC_PAYLOAD_H

#include "conn.h"
#include "in_flight.h"

/* Fills the places of an event that begins `at` bytes after the end of its own stream. */
static __always_inline void fill_places(__u64 places[2], const struct call *call,
					const struct conn *conn, __u32 dir, __u64 at)
{
	places[dir & 1] = conn->offset[dir & 1] + at;
	places[!(dir & 1)] = call->other_length;
}

static __always_inline void send_gap(const struct call *call, const struct conn_key *key,
				     struct conn *conn, __u32 dir, __u64 at, __u64 len,
				     __u32 cause)
{
	struct event_gap *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	/* Without this event the recorder still detects the hole, by the offset of the next event
	 * or by the final length; only the cause is missing. */
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	fill_head(&e->head, EVENT_GAP, key, conn);
	e->head.dir = dir;
	fill_places(e->offset, call, conn, dir, at);
	e->len = len;
	e->cause = cause;
	e->pad = 0;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* A chunk of a call's bytes. */
struct chunk {
	__u64 at;			/* offset within the call */
	__u64 len;
	__u64 call_len;
};

/* Copies into a reservation of constant `size`, as the verifier requires. */
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
	if (len > size ||
	    bpf_probe_read_user(e + 1, len, (void *)(call->args.data.buf + chunk->at))) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		count(COUNT_DATA_READ_FAULT);
		send_gap(call, key, conn, dir, chunk->at, len, GAP_READ_FAULT);
		return;
	}
	fill_head(&e->head, EVENT_DATA, key, conn);
	e->head.dir = dir;
	e->head.func = site->func;
	e->head.len = len;
	fill_places(e->offset, call, conn, dir, chunk->at);
	e->lat_ns = call->start_ns ? e->head.ts_ns - call->start_ns : 0;
	e->call_len = chunk->call_len;
	e->call_offset = chunk->at;
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
 * Sends the chunk at `at` of the call in flight with key (`sp`, `depth`), with `rest` bytes still
 * to be sent. A global function: the verifier checks it once and not for each turn of the loops
 * around it. On kernel 5.8 its parameters can only be numbers, so it looks everything up.
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

/* The verifier walks through every turn of a loop. A single loop over all chunks of the longest
 * call would take it most of a second, so the loop is split into rounds, in a function that is
 * checked once. */
#define ROUND_CHUNKS 64
_Static_assert(CALL_CHUNKS_MAX % ROUND_CHUNKS == 0, "rounds");

__noinline int round_of_chunks(__u64 sp, __u32 depth, __u64 at, __u64 end, __u64 call_len)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUND_CHUNKS; i++) {
		if (at >= end)
			break;
		chunk_of_call(sp, depth, at, end - at, call_len);
		at += CHUNK_MAX;
	}
	return 0;
}

/* Sends the `len` bytes from `at` on, in chunks; at most CALL_CHUNKS_MAX of them. */
__noinline int chunks_of_call(__u64 sp, __u32 depth, __u64 at, __u64 len, __u64 call_len)
{
	const __u64 end = at + len;

#pragma clang loop unroll(disable)
	for (int i = 0; i < CALL_CHUNKS_MAX / ROUND_CHUNKS; i++) {
		if (at >= end)
			break;
		round_of_chunks(sp, depth, at, end, call_len);
		at += ROUND_CHUNKS * CHUNK_MAX;
	}
	return 0;
}

/* NSPR takes 16 buffers at most. */
#define VECTOR_MAX 64

/* One of several buffers: PRIOVec, whose length is an int, or iovec, whose length is never
 * larger. */
struct vector_part {
	__u64 base;
	__u32 len;
	__u32 pad;
};

/*
 * Sends the buffer at `place`, or its first `rest` bytes, as the part of the call that begins at
 * `at`. Returns their number; -1 if the buffer cannot be read. Chunks are read relative to the
 * buffer address in the call, so that address is set to where a single buffer would have to begin
 * to have this part at its offset. A global function for the same reason as the others.
 */
__noinline __s64 part_of_call(__u64 sp, __u64 place, __u64 at, __u64 rest, __u64 call_len)
{
	struct call_key key = { .sp = sp, .pid = current_thread() >> 32 };
	struct call *call = call_at(&key);
	struct vector_part part;

	if (!call)
		return -1;
	if (bpf_probe_read_user(&part, sizeof(part), (void *)place)) {
		count(COUNT_DATA_READ_FAULT);
		return -1;
	}
	if (part.len > rest)
		part.len = rest;
	call->args.data.buf = part.base - at;
	chunks_of_call(sp, 0, at, part.len, call_len);
	return part.len;
}

/* Sends the first `kept` bytes of a call whose array of buffers is at `place`, and returns the
 * number of bytes sent. */
__noinline __u64 parts_of_call(__u64 sp, __u64 place, __u64 kept, __u64 call_len)
{
	__u64 at = 0;
	__s64 len;

#pragma clang loop unroll(disable)
	for (int i = 0; i < VECTOR_MAX; i++) {
		if (at >= kept)
			break;
		len = part_of_call(sp, place, at, kept - at, call_len);
		if (len < 0)
			break;
		place += sizeof(struct vector_part);
		at += len;
	}
	return at;
}

static __always_inline void send_data(const struct call_key *call_key, const struct call *call,
				      const struct site *site, const struct conn_key *key,
				      struct conn *conn, __u64 total, bool is_vector)
{
	const __u64 most = (__u64)CALL_CHUNKS_MAX * CHUNK_MAX;
	__u64 kept = settings.snaplen && settings.snaplen < total ? settings.snaplen : total;
	__u32 cause = kept < total ? GAP_SNAPLEN : GAP_LONG_CALL;
	struct chunk whole = { .len = kept, .call_len = total };

	if (kept > most) {
		kept = most;
		cause = GAP_LONG_CALL;
	}
	if (is_vector) {
		__u64 sent = parts_of_call(call_key->sp, call->args.data.buf, kept, total);

		if (sent < kept)
			cause = GAP_READ_FAULT;
		kept = sent;
	} else if (kept <= CHUNK_MAX)
		send_chunk(call, site, key, conn, &whole);
	else
		chunks_of_call(call_key->sp, call_key->depth, 0, kept, total);
	if (kept < total)
		send_gap(call, key, conn, site->dir & 1, kept, total - kept, cause);
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The account of TLS at the sockets of chosen processes, whatever library they use. A TCP stream is
 * TLS once an operation moves bytes that begin with a TLS record: at the start of the stream, or
 * later within a bounded number of operations, since some protocols start TLS within a connection,
 * and since the recording may begin later than the connection.
 *
 * The bytes are those of the program's own buffer, which the system call names, so that the packets
 * of other processes cost nothing. The first bytes of a TLS stream, which are in the clear, are
 * sent to the recorder; after that an operation costs a look-up and an addition.
 */
#ifndef SSLREC_ACCOUNT_H
#define SSLREC_ACCOUNT_H

#include "addr.h"

/* Operations of a socket, in both directions together, that may pass before the first record. */
#define LOOKS_MAX 24
/* Pieces that are sent of each direction. A library may read the header of a record separately. */
#define PIECES_MAX 4
/* Buffers of an operation after the first that are sent. Some libraries write the header of a
 * record from a buffer of its own. */
#define MORE_VECTORS 3
#define RECORD_HEADER 5
#define RECORD_TYPE_MIN 20
#define RECORD_TYPE_MAX 23
#define RECORD_LEN_MAX (16384 + 2048)

/* Returns whether these bytes are the header of a TLS record (RFC 8446, section 5.1). */
static __always_inline bool is_record_header(const __u8 *header)
{
	__u32 len = (__u32)header[3] << 8 | header[4];

	return header[0] >= RECORD_TYPE_MIN && header[0] <= RECORD_TYPE_MAX && header[1] == 3 &&
	       header[2] <= 4 && len && len <= RECORD_LEN_MAX;
}

static __always_inline struct event_piece *reserve_piece(__u64 len)
{
	if (len <= PIECE_SMALL)
		return bpf_ringbuf_reserve(&ring, sizeof(struct event_piece) + PIECE_SMALL, 0);
	return bpf_ringbuf_reserve(&ring, sizeof(struct event_piece) + PIECE_MAX, 0);
}

static __always_inline void fill_socket_head(struct event *head, __u8 kind, __u64 sk,
					     const struct seen_socket *seen)
{
	__builtin_memset(head, 0, sizeof(*head));
	head->kind = kind;
	head->pid = seen->pid;
	head->tid = (__u32)current_thread();
	head->ts_ns = bpf_ktime_get_boot_ns();
	head->ssl = sk;
	head->born_ns = seen->born_ns;
}

/* Sends the beginning of the bytes of an operation. */
static __always_inline void send_piece(__u64 sk, struct seen_socket *seen, __u32 dir,
				       const struct user_bytes *bytes)
{
	__u64 len = bytes->len < PIECE_MAX ? bytes->len : PIECE_MAX;
	struct task_struct *task = (void *)bpf_get_current_task();
	struct event_piece *e;
	bool failed;

	e = reserve_piece(len);
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return;
	}
	barrier_var(len);
	if (len <= PIECE_SMALL)
		failed = bpf_probe_read_user(e + 1, len, (void *)bytes->at);
	else
		failed = len > PIECE_MAX ||
			 bpf_probe_read_user(e + 1, len, (void *)bytes->at);
	if (failed) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	fill_socket_head(&e->head, EVENT_PIECE, sk, seen);
	e->head.dir = dir;
	e->head.len = len;
	e->ends = seen->ends;
	__builtin_memset(e->comm, 0, sizeof(e->comm));
	BPF_CORE_READ_STR_INTO(&e->comm, task, group_leader, comm);
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline struct seen_socket *seen_socket_of(__u64 sk, __u32 pid)
{
	struct seen_socket *seen = bpf_map_lookup_elem(&seen_sockets, &sk);
	struct seen_socket fresh = {};

	if (seen)
		return seen;
	/* Bytes can be read from a connection that has ended; its entry is gone by then. */
	if (BPF_CORE_READ((struct sock *)sk, sk_type) != SOCK_STREAM ||
	    BPF_CORE_READ((struct sock *)sk, __sk_common.skc_state) == TCP_CLOSE ||
	    !read_endpoints(&fresh.ends, (struct sock *)sk))
		return NULL;
	fresh.born_ns = bpf_ktime_get_boot_ns();
	fresh.pid = pid;
	bpf_map_update_elem(&seen_sockets, &sk, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&seen_sockets, &sk);
}

/* Sends the buffers of an operation from this struct iovec on. */
static __noinline int send_vectors(__u64 sk, __u32 dir, __u64 next, __u64 left)
{
	struct seen_socket *seen = bpf_map_lookup_elem(&seen_sockets, &sk);

	if (!seen)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MORE_VECTORS; i++) {
		struct user_bytes bytes = {};
		__u64 vector[2];

		if (!left || seen->pieces[dir & 1] >= PIECES_MAX ||
		    bpf_probe_read_user(vector, sizeof(vector), (void *)next))
			break;
		next += sizeof(vector);
		bytes.at = vector[0];
		bytes.len = vector[1] < left ? vector[1] : left;
		left -= bytes.len;
		if (!bytes.len)
			continue;
		seen->pieces[dir & 1]++;
		send_piece(sk, seen, dir, &bytes);
	}
	return 0;
}

static __always_inline void look_at_bytes(__u64 sk, struct seen_socket *seen, __u32 dir,
					  __u64 moved)
{
	__u8 header[RECORD_HEADER] = {};
	struct user_bytes bytes;

	if (!bytes_of_system_call(&bytes, moved))
		bytes.len = 0;
	if (!seen->is_tls) {
		if (bytes.len < sizeof(header) ||
		    bpf_probe_read_user(header, sizeof(header), (void *)bytes.at) ||
		    !is_record_header(header)) {
			seen->looks++;
			return;
		}
		seen->is_tls = 1;
	}
	if (!bytes.len)
		return;
	seen->pieces[dir & 1]++;
	send_piece(sk, seen, dir, &bytes);
	if (bytes.next)
		send_vectors(sk, dir, bytes.next, moved - bytes.len);
}

/* Handles an operation that moved bytes. A function of its own, since kernels before 6.13 give a
 * program and all that it calls 512 bytes of stack. */
static __noinline int account_operation(__u64 sk, __u32 dir, __u64 moved)
{
	__u32 pid = current_thread() >> 32;
	struct seen_socket *seen;

	if (!is_wanted(pid) || pid == self_test_pid)
		return 0;
	seen = seen_socket_of(sk, pid);
	if (!seen)
		return 0;
	seen->bytes[dir & 1] += moved;
	if (seen->is_tls ? seen->pieces[dir & 1] < PIECES_MAX : seen->looks < LOOKS_MAX)
		look_at_bytes(sk, seen, dir, moved);
	return 0;
}

/* Handles the end of a TCP connection, which may come in the context of any process. */
static __noinline int account_close(__u64 sk)
{
	struct seen_socket *seen = bpf_map_lookup_elem(&seen_sockets, &sk);
	struct event_socket_end *e;

	if (!seen)
		return 0;
	if (seen->is_tls) {
		e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
		if (e) {
			fill_socket_head(&e->head, EVENT_SOCKET_END, sk, seen);
			e->bytes[DIR_SENT] = seen->bytes[DIR_SENT];
			e->bytes[DIR_RECEIVED] = seen->bytes[DIR_RECEIVED];
			bpf_ringbuf_submit(e, wakeup_flags());
		} else {
			count(COUNT_CONTROL_RING_FULL);
		}
	}
	bpf_map_delete_elem(&seen_sockets, &sk);
	return 0;
}

#endif

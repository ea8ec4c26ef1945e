/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The account of TLS and QUIC at the sockets of chosen processes, whatever library they use. A TCP
 * stream is TLS once an operation moves bytes that begin with a TLS record: at the start of the
 * stream, or later within a bounded number of operations, since some protocols start TLS within a
 * connection, and since the recording may begin later than the connection. QUIC is seen by the
 * datagrams that begin a connection.
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
	if (len > PIECE_MAX)
		return bpf_ringbuf_reserve(&ring, sizeof(struct event_piece) + DATAGRAM_MAX, 0);
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
static __always_inline void send_piece(__u8 kind, __u64 sk, struct seen_socket *seen, __u32 dir,
				       const struct user_bytes *bytes)
{
	const __u64 most = kind == EVENT_DATAGRAM ? DATAGRAM_MAX : PIECE_MAX;
	__u64 len = bytes->len < most ? bytes->len : most;
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
	else if (len <= PIECE_MAX)
		failed = bpf_probe_read_user(e + 1, len, (void *)bytes->at);
	else
		failed = len > DATAGRAM_MAX ||
			 bpf_probe_read_user(e + 1, len, (void *)bytes->at);
	if (failed) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	fill_socket_head(&e->head, kind, sk, seen);
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
		send_piece(EVENT_PIECE, sk, seen, dir, &bytes);
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
	send_piece(EVENT_PIECE, sk, seen, dir, &bytes);
	if (bytes.next)
		send_vectors(sk, dir, bytes.next, moved - bytes.len);
}

/* Datagrams of a socket that is not known to carry QUIC, and of a socket with a fixed peer, that
 * may pass in a row without a packet of interest. Others may belong to a server, which is always
 * looked at: a connection can begin with any datagram. */
#define DATAGRAM_LOOKS_MAX 64
#define PEER_LOOKS_MAX 1024
/* Datagrams of a socket that are sent to the recorder. */
#define DATAGRAMS_MAX 2048
#define QUIC_LONG_HEADER 0xc0		/* with the fixed bit */
#define QUIC_TYPE 0x30
#define QUIC_V1 1
#define QUIC_V2 0x6b3343cf

/* Returns whether these bytes begin an Initial or Retry packet (RFC 9000, section 17.2; RFC 9369,
 * section 3.2). */
static __always_inline bool is_quic_beginning(const __u8 *header)
{
	__u32 version = (__u32)header[1] << 24 | (__u32)header[2] << 16 | (__u32)header[3] << 8 |
			header[4];
	__u8 type = header[0] & QUIC_TYPE;

	if ((header[0] & QUIC_LONG_HEADER) != QUIC_LONG_HEADER)
		return false;
	if (version == QUIC_V1)
		return type == 0x00 || type == 0x30;
	return version == QUIC_V2 && (type == 0x10 || type == 0x00);
}

/* Reads the addresses of a datagram. A received datagram has no address here: the kernel writes it
 * into the program's memory later. */
static __always_inline void read_datagram_ends(struct endpoints *ends, struct sock *sk, __u32 dir,
					       __u64 name)
{
	struct {
		__u16 family;
		__be16 port;
		__u8 address[20];	/* IPv6: after its flow information */
	} peer;

	ends->family = 0;
	if (read_endpoints(ends, sk))
		return;
	__builtin_memset(ends, 0, sizeof(*ends));
	ends->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	ends->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (ends->family == AF_INET)
		BPF_CORE_READ_INTO(&ends->local, sk, __sk_common.skc_rcv_saddr);
	else
		BPF_CORE_READ_INTO(&ends->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
	if (dir != DIR_SENT || !name || bpf_probe_read_user(&peer, 8, (void *)name) ||
	    peer.family != ends->family)
		return;
	if (peer.family == AF_INET)
		__builtin_memcpy(ends->remote, peer.address, 4);
	else if (bpf_probe_read_user(&ends->remote, sizeof(ends->remote), (void *)name + 8))
		return;
	ends->remote_port = bpf_ntohs(peer.port);
}

static __always_inline struct seen_datagrams *seen_datagrams_of(__u64 sk, __u32 pid)
{
	struct seen_datagrams *seen = bpf_map_lookup_elem(&seen_datagrams, &sk);
	__u16 port = BPF_CORE_READ((struct sock *)sk, __sk_common.skc_num);
	struct seen_datagrams fresh = {};

	if (seen && seen->socket.pid == pid && seen->socket.ends.local_port == port)
		return seen;
	fresh.socket.born_ns = bpf_ktime_get_boot_ns();
	fresh.socket.pid = pid;
	fresh.socket.ends.local_port = port;
	bpf_map_update_elem(&seen_datagrams, &sk, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&seen_datagrams, &sk);
}

/* Handles datagrams that were sent or received. */
static __noinline int account_datagram(__u64 sk, __u32 dir, __u64 moved, __u32 pid)
{
	struct seen_datagrams *seen = seen_datagrams_of(sk, pid);
	struct user_datagram datagram;
	struct user_bytes bytes = {};
	__u8 header[5];

	if (!seen || seen->sent >= DATAGRAMS_MAX)
		return 0;
	if (seen->looks >= DATAGRAM_LOOKS_MAX && !seen->socket.is_tls)
		return 0;
	if (seen->looks >= PEER_LOOKS_MAX &&
	    BPF_CORE_READ((struct sock *)sk, __sk_common.skc_dport))
		return 0;
	if (!datagram_of_system_call(&datagram, moved) || datagram.len < sizeof(header) ||
	    bpf_probe_read_user(header, sizeof(header), (void *)datagram.at) ||
	    !is_quic_beginning(header)) {
		seen->looks++;
		return 0;
	}
	seen->looks = 0;
	seen->sent++;
	seen->socket.is_tls = 1;
	read_datagram_ends(&seen->socket.ends, (struct sock *)sk, dir, datagram.name);
	bytes.at = datagram.at;
	bytes.len = datagram.len;
	send_piece(EVENT_DATAGRAM, sk, &seen->socket, dir, &bytes);
	return 0;
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
	if (!seen) {
		__u16 family = BPF_CORE_READ((struct sock *)sk, __sk_common.skc_family);

		if (BPF_CORE_READ((struct sock *)sk, sk_type) == SOCK_DGRAM &&
		    (family == AF_INET || family == AF_INET6))
			account_datagram(sk, dir, moved, pid);
		return 0;
	}
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

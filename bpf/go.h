/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Calls of Go's crypto/tls, with the register ABI of Go 1.17 and later; arch.h has the registers.
 * The ABI of C differs, so these programs are apart from those of call.h; connections and events
 * are the same.
 *
 * A goroutine may continue on another thread, and its stack moves when it grows or shrinks, so
 * neither thread nor stack pointer identifies a call. The goroutine and the distance from the
 * stack's upper end do. There is no return probe: the runtime walks stacks, finds the kernel's
 * address in place of the caller's, and ends the program.
 */
#ifndef SSLREC_GO_H
#define SSLREC_GO_H

#include "call.h"

#define GO_RECORD_APPLICATION_DATA 23	/* RFC 8446, section 5.1 */

/* The beginning of runtime.g; the prologue of every function relies on the fields that follow. */
struct go_stack {
	__u64 lo;
	__u64 hi;
};

struct go_interface {
	__u64 type;
	__u64 data;
};

/* Offsets in crypto/tls.Conn, the same in Go 1.17 to 1.27. */
#define GO_TLS_CONN 0			/* conn net.Conn */
#define GO_TLS_IS_CLIENT 16		/* isClient bool */

/* Offsets in net.netFD and net.TCPAddr, for the same versions. */
#define GO_NET_FD_SYSFD 16		/* pfd.Sysfd int */
#define GO_NET_FD_FAMILY 56		/* family, sotype int */
#define GO_NET_FD_ADDRS 96		/* laddr, raddr net.Addr */
#define GO_TCP_ADDR_PORT 24		/* Port int */

static __always_inline bool read_go_stack(struct pt_regs *ctx, struct go_stack *stack)
{
	if (!bpf_probe_read_user(stack, sizeof(*stack), (void *)go_goroutine(ctx)))
		return true;
	count(COUNT_GOROUTINE_READ_FAULT);
	return false;
}

/* Returns the key of the call that begins or ends here: at both places the stack pointer is at the
 * return address. */
static __always_inline struct call_key go_call_key(struct pt_regs *ctx, __u32 pid,
						   const struct go_stack *stack)
{
	struct call_key key = { .sp = go_goroutine(ctx), .pid = pid,
				.depth = stack->hi - PT_REGS_SP(ctx) };

	return key;
}

/* ---- From a Conn to its socket ---- */

static __always_inline __u64 read_go_pointer(__u64 address)
{
	__u64 value = 0;

	if (address && bpf_probe_read_user(&value, sizeof(value), (void *)address))
		value = 0;
	return value;
}

/* Returns the port of a net.Addr that is a *net.TCPAddr. */
static __always_inline __u64 go_port(const struct go_interface *addr)
{
	return addr->data ? read_go_pointer(addr->data + GO_TCP_ADDR_PORT) : 0;
}

/*
 * Returns the socket of a possible netFD. Its type is unknown here, so the value is verified: its
 * family and the ports of both ends must equal those of the socket that its descriptor leads to.
 */
static __always_inline struct sock *socket_of_net_fd(__u64 address)
{
	struct go_interface addrs[2];
	__u64 fd, kind[2];
	struct sock *sk;

	if (!address || bpf_probe_read_user(&fd, sizeof(fd), (void *)address + GO_NET_FD_SYSFD) ||
	    bpf_probe_read_user(kind, sizeof(kind), (void *)address + GO_NET_FD_FAMILY))
		return NULL;
	if (fd > 0x7fffffff || kind[1] != SOCK_STREAM ||
	    (kind[0] != AF_INET && kind[0] != AF_INET6))
		return NULL;
	sk = socket_of_fd(fd);
	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_family) != kind[0] ||
	    bpf_probe_read_user(addrs, sizeof(addrs), (void *)address + GO_NET_FD_ADDRS))
		return NULL;
	if (BPF_CORE_READ(sk, __sk_common.skc_num) != go_port(&addrs[0]) ||
	    bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport)) != go_port(&addrs[1]))
		return NULL;
	return sk;
}

/* Nested wrappers are followed to this depth. */
#define GO_WRAPPERS_MAX 4

/*
 * Returns the socket below a net.Conn with this data word: a *net.TCPConn, which holds a *netFD, or
 * a struct that begins with another net.Conn or *net.TCPConn. Such structs count, limit or peek;
 * tls.Conn itself is also one.
 */
static __always_inline struct sock *socket_of_net_conn(__u64 data)
{
	struct sock *sk;

#pragma clang loop unroll(disable)
	for (int i = 0; i < GO_WRAPPERS_MAX && data; i++) {
		__u64 first = read_go_pointer(data);

		sk = socket_of_net_fd(first);
		if (!sk)
			sk = socket_of_net_fd(read_go_pointer(first));
		if (sk)
			return sk;
		data = read_go_pointer(data + sizeof(first));
	}
	return NULL;
}

static __always_inline __u64 address_of_object(__u64 object)
{
	return object & ((1ULL << 48) - 1);
}

/* Reads the addresses of the socket below a Conn. */
static __always_inline bool read_go_endpoints(struct endpoints *ends, __u64 object)
{
	__u64 data = read_go_pointer(address_of_object(object) + GO_TLS_CONN +
				     __builtin_offsetof(struct go_interface, data));
	struct sock *sk = socket_of_net_conn(data);

	return sk && read_endpoints(ends, sk);
}

/* A port of this machine is reused only after a while, so equal ports mean the same socket. */
static __always_inline bool is_same_socket(const struct endpoints *a, const struct endpoints *b)
{
	return a->family == b->family && a->local_port == b->local_port &&
	       a->remote_port == b->remote_port;
}

/* This and the next two functions are global because of the stack, like make_conn(). */
__noinline int find_go_socket(__u32 pid, __u64 object)
{
	struct conn_key key = conn_key_of(pid, object);
	struct conn *conn = bpf_map_lookup_elem(&conns, &key);

	if (conn)
		read_go_endpoints(&conn->ends, object);
	return 0;
}

/* Reads the properties of a connection from the Conn itself. */
static __always_inline void resolve_go_conn(const struct conn_key *key, struct conn *conn)
{
	void *address = (void *)address_of_object(key->ssl);
	__u8 is_client;

	if (!conn->role) {
		if (bpf_probe_read_user(&is_client, sizeof(is_client), address + GO_TLS_IS_CLIENT))
			count(COUNT_SOCKET_READ_FAULT);
		else
			conn->role = is_client ? ROLE_CLIENT : ROLE_SERVER;
	}
	if (!conn->ends.family)
		find_go_socket(key->pid, key->ssl);
}

/* ---- Entry ---- */

/* Returns whether an earlier connection of this object continues: the socket is the same. */
__noinline int go_conn_goes_on(__u32 pid, __u64 object)
{
	struct conn_key key = conn_key_of(pid, object);
	struct conn *conn = bpf_map_lookup_elem(&conns, &key);
	struct endpoints ends = {};

	if (!conn || !(conn->handshake_ns || has_data(conn)))
		return 0;
	read_go_endpoints(&ends, object);
	return ends.family && is_same_socket(&conn->ends, &ends);
}

__noinline int clear_go_conn(__u32 pid, __u64 object)
{
	struct conn_key key = conn_key_of(pid, object);
	struct conn *conn = bpf_map_lookup_elem(&conns, &key);

	if (conn && (conn->handshake_ns || has_data(conn)))
		clear_conn(&key, conn);
	return 0;
}

/*
 * Begins a handshake. Go reuses the memory of a Conn that was never closed, without notice. An
 * earlier connection at this address is therefore over, unless the socket is the same: then this is
 * a renegotiation.
 */
static __always_inline void begin_go_handshake(const struct conn_key *key, struct conn *conn,
					       const struct site *site, __u64 now_ns)
{
	if (go_conn_goes_on(key->pid, key->ssl))
		return;
	clear_go_conn(key->pid, key->ssl);
	__builtin_memset(&conn->ends, 0, sizeof(conn->ends));
	find_go_socket(key->pid, key->ssl);
	conn->role = site->role;
	conn->joined = 0;
	conn->handshake_ns = now_ns;
}

/* Stores the buffer: its argument follows the Conn, or the record type if there is one. */
static __always_inline void set_go_buffer(struct call *call, const struct site *site,
					  struct pt_regs *ctx)
{
	__u64 second = go_second(ctx), third = go_third(ctx), fourth = go_fourth(ctx);

	/* As in argument(). */
	barrier_var(second);
	barrier_var(third);
	barrier_var(fourth);
	call->args.data.buf = site->flags & SITE_TYPED ? third : second;
	call->args.data.len = site->flags & SITE_TYPED ? fourth : third;
}

#define PAGE 4096ULL
#define ROUND_PAGES 256

__noinline int is_round_in_memory(__u64 at, __u64 end)
{
	__u8 byte;

#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUND_PAGES; i++) {
		if (at >= end)
			break;
		if (bpf_probe_read_user(&byte, sizeof(byte), (void *)at))
			return 0;
		at = (at | (PAGE - 1)) + 1;
	}
	return 1;
}

/* Returns whether all kept bytes of a call can be read now. Bytes of a file that is part of the
 * program, or mapped, may be read from disk only during encryption. */
__noinline int is_in_memory(__u64 at, __u64 len)
{
	const __u64 most = (__u64)CALL_CHUNKS_MAX * CHUNK_MAX;
	__u64 end = at + (len < most ? len : most);

#pragma clang loop unroll(disable)
	for (int i = 0; i <= CALL_CHUNKS_MAX * CHUNK_MAX / (ROUND_PAGES * PAGE); i++) {
		if (at >= end)
			break;
		if (!is_round_in_memory(at, end))
			return 0;
		at = (at & ~(PAGE - 1)) + ROUND_PAGES * PAGE;
	}
	return 1;
}

static __always_inline void finish_go_data(const struct call_key *call_key, struct call *call,
					   const struct site *site,
					   const struct conn_key *conn_key, __u64 total)
{
	struct conn *conn = bpf_map_lookup_elem(&conns, conn_key);

	if (!conn && call->known) {
		/* Another goroutine closed the Conn meanwhile, and its end was reported. */
		count(COUNT_READ_AFTER_CLOSE);
		return;
	}
	if (!conn)
		conn = conn_of(conn_key, site->lib, true);
	if (conn)
		resolve_go_conn(conn_key, conn);
	finish_data(call_key, call, site, conn_key, conn, total, false);
}

/*
 * Sends records that are about to be written. They are copied before the write and not after it:
 * while one goroutine writes, another may already read the answer. The duration and the success of
 * the write are therefore unknown here.
 */
static __always_inline void send_go_records(const struct call_key *key, struct call *call,
					    const struct site *site,
					    const struct conn_key *conn_key)
{
	bool in_chunks = call->args.data.len > CHUNK_MAX;
	struct conn *conn = bpf_map_lookup_elem(&conns, conn_key);

	if (!call->args.data.len)
		return;
	call->start_ns = 0;
	/* Also for the copy of the call, which finish_data() does not update. */
	if (conn)
		call->other_length = length_of(conn, DIR_RECEIVED);
	if (in_chunks && bpf_map_update_elem(&go_calls, key, call, BPF_ANY)) {
		count(COUNT_CALL_TABLE_FULL);
		return;
	}
	finish_go_data(key, call, site, conn_key, call->args.data.len);
	if (in_chunks)
		bpf_map_delete_elem(&go_calls, key);
}

static __always_inline int enter_go_call(struct pt_regs *ctx)
{
	struct call call = { .thread = current_thread(), .in_flight = CALL_IN_GO_CALLS };
	__u32 pid = call.thread >> 32;
	struct go_stack stack;
	const struct site *site;
	struct conn_key conn_key;
	struct call_key key;
	struct conn *conn;

	if (!is_wanted(pid) || go_begins_anew(ctx))
		return 0;
	call.site = site_index(ctx);
	site = site_at(call.site);
	if (!site || !read_go_stack(ctx, &stack))
		return 0;
	if (site->flags & SITE_TYPED && (__u8)go_second(ctx) != GO_RECORD_APPLICATION_DATA)
		return 0;
	key = go_call_key(ctx, pid, &stack);
	call.ssl = object_of(go_first(ctx));
	set_go_buffer(&call, site, ctx);
	call.start_ns = bpf_ktime_get_boot_ns();
	conn_key = conn_key_of(pid, call.ssl);
	if (site->flags & SITE_TYPED && is_in_memory(call.args.data.buf, call.args.data.len)) {
		send_go_records(&key, &call, site, &conn_key);
		return 0;
	}
	if (site->kind == SITE_HANDSHAKE) {
		conn = conn_of(&conn_key, site->lib, false);
		if (conn)
			begin_go_handshake(&conn_key, conn, site, call.start_ns);
	} else {
		conn = bpf_map_lookup_elem(&conns, &conn_key);
	}
	call.known = conn != NULL;
	/* A buffer on the stack moves with the stack: its distance from the upper end is stored. */
	call.on_stack = call.args.data.buf >= stack.lo && call.args.data.buf < stack.hi;
	if (call.on_stack)
		call.args.data.buf = stack.hi - call.args.data.buf;
	/* An existing entry was left behind by a panic. */
	if (bpf_map_update_elem(&go_calls, &key, &call, BPF_ANY))
		count(COUNT_CALL_TABLE_FULL);
	return 0;
}

/* ---- Exit ---- */

/* Sends a string of the Conn. */
static __always_inline void send_go_text(const struct conn_key *key, struct conn *conn, __u16 func,
					 __u32 place, __u32 param)
{
	struct event_tls_param *e;
	__u64 text[2];
	__u64 len;

	if (bpf_probe_read_user(text, sizeof(text),
				(void *)address_of_object(key->ssl) + place)) {
		count(COUNT_NAME_READ_FAULT);
		return;
	}
	len = text[1];
	/* The string is unset or, since no valid string is that long, this is not a string. */
	if (!len || len >= NAME_LEN)
		return;
	e = begin_param(key, conn, func, param);
	if (!e)
		return;
	barrier_var(len);
	if (len >= NAME_LEN || bpf_probe_read_user(e->text, len, (void *)text[0])) {
		count(COUNT_NAME_READ_FAULT);
		conn->params_sent &= ~(1 << (param & 7));
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	e->head.len = len;
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void send_go_version(const struct conn_key *key, struct conn *conn,
					    __u16 func, const struct go_layout *layout)
{
	void *address = (void *)address_of_object(key->ssl);
	struct event_tls_param *e;
	__u16 version, cipher;

	if (bpf_probe_read_user(&version, sizeof(version), address + layout->version) ||
	    bpf_probe_read_user(&cipher, sizeof(cipher), address + layout->cipher)) {
		count(COUNT_NAME_READ_FAULT);
		return;
	}
	e = begin_param(key, conn, func, PARAM_VERSION_AND_CIPHER);
	if (!e)
		return;
	e->number = version | (__u32)cipher << 16;
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void finish_go_handshake(const struct site *site,
						const struct conn_key *key, bool ok)
{
	struct conn *conn = bpf_map_lookup_elem(&conns, key);
	__u32 lib = site->lib;
	const struct go_layout *layout = bpf_map_lookup_elem(&go_layouts, &lib);

	if (!conn)
		return;
	if (layout && layout->server_name) {
		send_go_text(key, conn, site->func, layout->server_name, PARAM_SERVER_NAME);
		if (ok) {
			send_go_text(key, conn, site->func, layout->alpn, PARAM_ALPN);
			send_go_version(key, conn, site->func, layout);
		}
	}
	finish_handshake(site, key, conn, ok);
}

static __always_inline int leave_go_call(struct pt_regs *ctx)
{
	__u32 pid = current_thread() >> 32;
	const struct site *site, *exit;
	struct conn_key conn_key;
	struct go_stack stack;
	struct call_key key;
	struct call *call;
	__u64 total;

	if (!is_wanted(pid))
		return 0;
	exit = site_at(site_index(ctx));
	if (!exit || !read_go_stack(ctx, &stack))
		return 0;
	key = go_call_key(ctx, pid, &stack);
	call = bpf_map_lookup_elem(&go_calls, &key);
	site = call ? site_at(call->site) : NULL;
	if (!site || site->func != exit->func)
		return 0;
	if (call->on_stack)
		call->args.data.buf = stack.hi - call->args.data.buf;
	conn_key = conn_key_of(pid, call->ssl);
	if (site->kind == SITE_HANDSHAKE) {
		/* An error is an interface: its first word is 0 if there is no error. */
		finish_go_handshake(site, &conn_key, !go_result(ctx));
	} else {
		total = bytes_done(call, site, go_result(ctx));
		if (total)
			finish_go_data(&key, call, site, &conn_key, total);
	}
	bpf_map_delete_elem(&go_calls, &key);
	return 0;
}

/* Handles Close. A program may call it several times. */
static __always_inline int enter_go_entry_only(struct pt_regs *ctx)
{
	__u32 pid = current_thread() >> 32;
	struct conn_key key;
	struct conn *conn;

	if (!is_wanted(pid))
		return 0;
	key = conn_key_of(pid, object_of(go_first(ctx)));
	conn = bpf_map_lookup_elem(&conns, &key);
	if (conn) {
		conn->shutdown = 1;
		release_conn(&key, conn);
	}
	return 0;
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Functions of which only the entry matters: they tell something of a connection, or end it.
 */
#ifndef SSLREC_NOTES_H
#define SSLREC_NOTES_H

#include "tls.h"

#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55	/* openssl/tls1.h, the same since 1.0.0 */
#define FD_MAX 0x7fffffff

static __always_inline void server_name(const struct conn_key *key, struct conn *conn,
					const struct site *site, struct pt_regs *ctx)
{
	struct text text = { .at = argument(ctx, site->text_arg), .len = NAME_LEN };

	if (site->count_arg)
		text.len = argument(ctx, site->count_arg);
	if (!text.at)
		return;
	/* Only clients name the server. */
	conn->role = ROLE_CLIENT;
	tell_text(key, conn, site, text);
}

/*
 * The object is made ready for another connection. The library itself does this at the start of
 * each handshake, so it means something only where a connection has been.
 */
static __always_inline void clear(const struct conn_key *key, struct conn *conn)
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
	conn->told = 0;
	conn->announced = 0;
	conn->joined = 0;
	conn->shutdown = 0;
	conn->direct = 0;
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
	case SITE_SERVER_NAME:
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
	if (!site || is_no_tls(ctx, site, pid))
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
			conn->role = role_told(ctx, site);
		if (!has_data(conn))
			conn->joined = 0;
		break;
	case SITE_SET_FD:
		/* A pointer is one in disguise, if it can be. */
		if (!site->result_64 || PT_REGS_PARM2(ctx) <= FD_MAX)
			conn->fd = PT_REGS_PARM2(ctx);
		break;
	case SITE_CTRL:
		if ((__u32)PT_REGS_PARM2(ctx) == SSL_CTRL_SET_TLSEXT_HOSTNAME)
			server_name(&key, conn, site, ctx);
		break;
	case SITE_SERVER_NAME:
		server_name(&key, conn, site, ctx);
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

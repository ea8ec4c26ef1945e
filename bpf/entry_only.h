/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Functions that need only an entry probe: they set something on a connection, or end it.
 */
#ifndef SSLREC_ENTRY_ONLY_H
#define SSLREC_ENTRY_ONLY_H

#include "conn.h"
#include "getters.h"
#include "nspr.h"

#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55	/* openssl/tls1.h, the same since 1.0.0 */
#define FD_MAX 0x7fffffff

static __always_inline void server_name(const struct conn_key *key, struct conn *conn,
					const struct site *site, struct pt_regs *ctx)
{
	struct text text = { .at = argument(ctx, site->text_arg), .len = NAME_LEN };

	if (site->text_len_arg)
		text.len = argument(ctx, site->text_len_arg);
	if (!text.at)
		return;
	/* Only clients set the server's name. */
	conn->role = ROLE_CLIENT;
	send_text(key, conn, site, text);
}

/* Functions that configure a new object create its entry; the others need an existing entry. */
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

static __always_inline int enter_entry_only(struct pt_regs *ctx)
{
	__u32 pid = current_thread() >> 32;
	struct conn_key key;
	const struct site *site;
	struct conn *conn;

	if (!is_wanted(pid))
		return 0;
	site = site_at(site_index(ctx));
	if (!site || is_ignored(ctx, site, pid))
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
			conn->role = role_of_call(ctx, site);
		if (!has_data(conn))
			conn->joined = 0;
		break;
	case SITE_SET_FD:
		/* A pointer may be a descriptor that was cast. */
		if (!(site->flags & SITE_FD_POINTER) || PT_REGS_PARM2(ctx) <= FD_MAX)
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
		clear_conn(&key, conn);
		break;
	case SITE_FREE:
		release_conn(&key, conn);
		break;
	}
	return 0;
}

#endif

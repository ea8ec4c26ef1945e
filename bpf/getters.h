/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Constructors and getters: functions whose result or out-argument is read when they return, for
 * objects and for TLS parameters. Only the value that the program receives is read.
 */
#ifndef SSLREC_GETTERS_H
#define SSLREC_GETTERS_H

#include "conn.h"
#include "nspr.h"
#include "site.h"

/* ---- Events ---- */

/* A text in the program: at most `len` bytes, or up to a NUL. */
struct text {
	__u64 at;
	__u64 len;
};

/* Reserves the event once for each connection and parameter: programs query repeatedly. */
static __always_inline struct event_tls_param *begin_param(const struct conn_key *key,
						     struct conn *conn, __u16 func, __u8 param)
{
	__u8 bit = 1 << (param & 7);
	struct event_tls_param *e;

	if (conn->params_sent & bit)
		return NULL;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return NULL;
	}
	fill_head(&e->head, EVENT_TLS_PARAM, key, conn);
	e->head.func = func;
	e->param = param;
	e->number = 0;
	e->pad = 0;
	conn->params_sent |= bit;
	return e;
}

static __always_inline void send_number(const struct conn_key *key, struct conn *conn,
					const struct site *site, __u64 number)
{
	struct event_tls_param *e = begin_param(key, conn, site->func, site->param);

	if (!e)
		return;
	e->number = number;
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void send_text(const struct conn_key *key, struct conn *conn,
				      const struct site *site, struct text text)
{
	struct event_tls_param *e = begin_param(key, conn, site->func, site->param);
	__u64 most = text.len < NAME_LEN - 1 ? text.len : NAME_LEN - 1;
	long len;

	if (!e)
		return;
	barrier_var(most);
	/* With room for the NUL that the helper puts at the end. */
	len = most < NAME_LEN
		      ? bpf_probe_read_user_str(e->text, most + 1, (void *)text.at)
		      : -1;
	if (len <= 0) {
		count(COUNT_NAME_READ_FAULT);
		conn->params_sent &= ~(1 << (site->param & 7));
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	e->head.len = len - 1;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* ---- Getters ---- */

/* The beginning of SSLChannelInfo, public in sslt.h and the same since NSS 3.4. */
struct channel_info {
	__u32 len;
	__u16 version;
	__u16 cipher;
};

/* gnutls_datum_t, public in gnutls.h. */
struct datum {
	__u64 data;
	__u32 len;
	__u32 pad;
};

/* Returns the text that a getter returned, at address 0 if there is none. */
static __always_inline struct text returned_text(const struct call *call, const struct site *site,
						 __s64 result)
{
	struct text text = { .len = NAME_LEN };
	struct datum datum = {};
	__u32 len = 0;
	long error = 0;

	switch (site->output) {
	case OUTPUT_TEXT:
		text.at = result;
		return text;
	case OUTPUT_DATUM:
		error = bpf_probe_read_user(&datum, sizeof(datum), (void *)call->args.get.out);
		break;
	case OUTPUT_POINTER:
		error = bpf_probe_read_user(&datum.data, sizeof(datum.data),
					    (void *)call->args.get.out) ||
			bpf_probe_read_user(&datum.len, sizeof(datum.len),
					    (void *)call->args.get.out_len);
		break;
	case OUTPUT_BUFFER:
		datum.data = call->args.get.out;
		error = bpf_probe_read_user(&len, sizeof(len), (void *)call->args.get.out_len);
		datum.len = len;
		break;
	}
	if (error)
		count(COUNT_NAME_READ_FAULT);
	text.at = !error && datum.len ? datum.data : 0;
	text.len = datum.len;
	return text;
}

/* Before the handshake ends these getters return the proposed value, not the negotiated one. NSS
 * has channel info only afterwards. */
static __always_inline bool is_negotiated(const struct conn *conn, const struct site *site)
{
	return site->param == PARAM_SERVER_NAME || site->param == PARAM_VERSION_AND_CIPHER ||
	       conn->handshake_done || has_data(conn) ||
	       conn->joined;
}

static __always_inline void channel_returned(const struct call *call, const struct site *site,
					     const struct conn_key *key, struct conn *conn)
{
	struct channel_info info = {};

	if (bpf_probe_read_user(&info, sizeof(info), (void *)call->args.get.out)) {
		count(COUNT_NAME_READ_FAULT);
		return;
	}
	if (info.version)
		send_number(key, conn, site, info.version | (__u32)info.cipher << 16);
}

/* Handles a getter whose object is a connection or a cipher. */
static __always_inline void get_returned(const struct call *call, const struct site *site,
					 __u32 pid, __s64 result)
{
	struct conn_key key = conn_key_of(pid, call->ssl);
	struct conn *conn;
	__u64 *owner;
	struct text text;

	/* A getter on a cipher object describes the connection that last returned this cipher. */
	if (site->param == PARAM_CIPHER && site->output == OUTPUT_TEXT) {
		owner = bpf_map_lookup_elem(&ciphers, &key);
		if (owner)
			key.ssl = *owner;
	}
	conn = bpf_map_lookup_elem(&conns, &key);
	if (!conn || !is_negotiated(conn, site))
		return;
	if (site->param == PARAM_CIPHER_OBJECT) {
		struct conn_key cipher = conn_key_of(pid, object_of(result));

		if (result)
			bpf_map_update_elem(&ciphers, &cipher, &key.ssl, BPF_ANY);
	} else if (site->output == OUTPUT_NUMBER) {
		if ((__s32)result > 0)
			send_number(&key, conn, site, (__u32)result);
	} else if (site->output == OUTPUT_CHANNEL) {
		channel_returned(call, site, &key, conn);
	} else {
		text = returned_text(call, site, result);
		if (text.at)
			send_text(&key, conn, site, text);
	}
}

/* Returns the object that a constructor created; 0 if none. */
static __always_inline __u64 created_object(const struct call *call, const struct site *site,
					    __s64 result)
{
	__u64 object = 0;

	if (site->output == OUTPUT_NUMBER)
		return result;
	if ((__s32)result)
		return 0;
	if (bpf_probe_read_user(&object, sizeof(object), (void *)call->args.create.out))
		count(COUNT_OBJECT_READ_FAULT);
	return object;
}

static __always_inline void create_returned(const struct call *call, const struct site *site,
					    __u32 pid, __s64 result)
{
	__u64 object = created_object(call, site, result);
	struct conn_key key = conn_key_of(pid, object_of(object));
	struct conn *conn;

	if (!object)
		return;
	if (site->flags & SITE_NSPR_LAYER)
		learn_tls_layer(pid, object);
	conn = conn_of(&key, site->lib, false);
	if (conn && call->args.create.role)
		conn->role = call->args.create.role;
}

static __always_inline void getter_returned(const struct call *call, const struct site *site,
					    __u32 pid, __s64 result)
{
	if (site->kind == SITE_CREATE)
		create_returned(call, site, pid, result);
	else
		get_returned(call, site, pid, result);
}

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Functions whose answer tells something: of the objects that they make, and of what a program
 * asks about a connection. Nothing is read but what the function hands to the program.
 */
#ifndef SSLREC_ANSWERS_H
#define SSLREC_ANSWERS_H

#include "conn.h"
#include "nspr.h"
#include "site.h"

/* ---- What is told ---- */

/* A text in the program: at most `len` bytes, or up to a NUL. */
struct text {
	__u64 at;
	__u64 len;
};

/* Says it once for each connection: programs ask again and again. */
static __always_inline struct event_told *begin_told(const struct conn_key *key,
						     struct conn *conn, __u16 func, __u8 what)
{
	__u8 bit = 1 << (what & 7);
	struct event_told *e;

	if (conn->told & bit)
		return NULL;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return NULL;
	}
	fill_head(&e->head, EVENT_TOLD, key, conn);
	e->head.func = func;
	e->what = what;
	e->number = 0;
	e->pad = 0;
	conn->told |= bit;
	return e;
}

static __always_inline void tell_number(const struct conn_key *key, struct conn *conn,
					const struct site *site, __u64 number)
{
	struct event_told *e = begin_told(key, conn, site->func, site->told);

	if (!e)
		return;
	e->number = number;
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void tell_text(const struct conn_key *key, struct conn *conn,
				      const struct site *site, struct text text)
{
	struct event_told *e = begin_told(key, conn, site->func, site->told);
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
		conn->told &= ~(1 << (site->told & 7));
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	e->head.len = len - 1;
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* ---- Answers ---- */

/* The beginning of SSLChannelInfo, public in sslt.h and the same since NSS 3.4. */
struct channel_info {
	__u32 len;
	__u16 version;
	__u16 cipher;
};

/* What gnutls_datum_t is: public in gnutls.h. */
struct datum {
	__u64 data;
	__u32 len;
	__u32 pad;
};

/* The text that the function gave; at 0 if there is none. */
static __always_inline struct text answered_text(const struct call *call, const struct site *site,
						 __s64 result)
{
	struct text text = { .len = NAME_LEN };
	struct datum datum = {};
	__u32 len = 0;
	long error = 0;

	switch (site->answer) {
	case ANSWER_TEXT:
		text.at = result;
		return text;
	case ANSWER_DATUM:
		error = bpf_probe_read_user(&datum, sizeof(datum), (void *)call->buf);
		break;
	case ANSWER_POINTER:
		error = bpf_probe_read_user(&datum.data, sizeof(datum.data), (void *)call->buf) ||
			bpf_probe_read_user(&datum.len, sizeof(datum.len),
					    (void *)call->count_ptr);
		break;
	case ANSWER_BUFFER:
		datum.data = call->buf;
		error = bpf_probe_read_user(&len, sizeof(len), (void *)call->count_ptr);
		datum.len = len;
		break;
	}
	if (error)
		count(COUNT_NAME_READ_FAULT);
	text.at = !error && datum.len ? datum.data : 0;
	text.len = datum.len;
	return text;
}

/* Asked before the end of the handshake, these are what the library would like to have; but NSS
 * tells of a channel only once there is one. */
static __always_inline bool is_settled(const struct conn *conn, const struct site *site)
{
	return site->told == TOLD_SERVER_NAME || site->told == TOLD_VERSION_AND_CIPHER ||
	       conn->handshake_done || has_data(conn) ||
	       conn->joined;
}

static __always_inline void asked_for_channel(const struct call *call, const struct site *site,
					      const struct conn_key *key, struct conn *conn)
{
	struct channel_info info = {};

	if (bpf_probe_read_user(&info, sizeof(info), (void *)call->buf)) {
		count(COUNT_NAME_READ_FAULT);
		return;
	}
	if (info.version)
		tell_number(key, conn, site, info.version | (__u32)info.cipher << 16);
}

/* A function with a connection as its object has told something. */
static __always_inline void asked(const struct call *call, const struct site *site, __u32 pid,
				  __s64 result)
{
	struct conn_key key = conn_key_of(pid, call->ssl);
	struct conn *conn;
	__u64 *owner;
	struct text text;

	/* What has a cipher for its object tells of the connection that asked for that. */
	if (site->told == TOLD_CIPHER && site->answer == ANSWER_TEXT) {
		owner = bpf_map_lookup_elem(&ciphers, &key);
		if (owner)
			key.ssl = *owner;
	}
	conn = bpf_map_lookup_elem(&conns, &key);
	if (!conn || !is_settled(conn, site))
		return;
	if (site->told == TOLD_CIPHER_OBJECT) {
		struct conn_key cipher = conn_key_of(pid, object_of(result));

		if (result)
			bpf_map_update_elem(&ciphers, &cipher, &key.ssl, BPF_ANY);
	} else if (site->answer == ANSWER_NUMBER) {
		if ((__s32)result > 0)
			tell_number(&key, conn, site, (__u32)result);
	} else if (site->answer == ANSWER_CHANNEL) {
		asked_for_channel(call, site, &key, conn);
	} else {
		text = answered_text(call, site, result);
		if (text.at)
			tell_text(&key, conn, site, text);
	}
}

/* The object that a function made; 0 if none. */
static __always_inline __u64 made_object(const struct call *call, const struct site *site,
					 __s64 result)
{
	__u64 object = 0;

	if (site->answer == ANSWER_NUMBER)
		return result;
	if ((__s32)result)
		return 0;
	/* For once what the call has for its object is a pointer to where the object will be. */
	if (bpf_probe_read_user(&object, sizeof(object), (void *)object_of(call->ssl)))
		count(COUNT_OBJECT_READ_FAULT);
	return object;
}

static __always_inline void made(const struct call *call, const struct site *site, __u32 pid,
				 __s64 result)
{
	__u64 object = made_object(call, site, result);
	struct conn_key key = conn_key_of(pid, object_of(object));
	struct conn *conn;

	if (!object)
		return;
	if (site->flags & SITE_NSPR_LAYER)
		learn_tls_layer(pid, object);
	conn = conn_of(&key, site->lib, false);
	if (conn && call->asked)
		conn->role = call->asked;
}

static __always_inline void answer(const struct call *call, const struct site *site, __u32 pid,
				   __s64 result)
{
	if (site->kind == SITE_MAKE)
		made(call, site, pid, result);
	else
		asked(call, site, pid, result);
}

#endif

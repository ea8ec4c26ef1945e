/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Calls in flight: the tables `calls`, `more_calls` and `go_calls`.
 */
#ifndef SSLREC_IN_FLIGHT_H
#define SSLREC_IN_FLIGHT_H

#include "site.h"

/* Returns the call in flight with this key, or NULL. */
static __always_inline struct call *call_at(const struct call_key *key)
{
	struct call *call;

	if (key->depth)
		return bpf_map_lookup_elem(&go_calls, key);
	call = bpf_map_lookup_elem(&calls, key);
	if (call && call->in_flight)
		return call;
	return bpf_map_lookup_elem(&more_calls, key);
}

static __always_inline __u32 slot_of(const struct site *site)
{
	return site->kind == SITE_HANDSHAKE ? SLOT_HANDSHAKE : site->dir & 1;
}

/*
 * Returns true if another probe has just begun the same call: a file on two overlay mounts appears
 * as two files, and is probed twice. An earlier call that never returned would have the same file.
 */
static __always_inline bool is_second_probe(const struct call *known, const struct call *call)
{
	const struct site *site = site_at(call->site);
	const struct site *known_site = site_at(known->site);

	return known->ssl == call->ssl && known->args.words[0] == call->args.words[0] && site &&
	       known_site && site->lib != known_site->lib;
}

/*
 * Returns true if a call that wraps others ended with a jump into this call: then the outer call
 * counts. Both must have the same buffer, since an earlier call that never returned looks alike.
 */
static __always_inline bool is_tail_of(const struct call *known, const struct call *call)
{
	const struct site *site = site_at(call->site);
	const struct site *known_site = site_at(known->site);

	return known->ssl == call->ssl && known->thread == call->thread && site && known_site &&
	       known_site->flags & SITE_WRAPS && site->func != known_site->func &&
	       site->kind == known_site->kind && slot_of(site) == slot_of(known_site) &&
	       known->args.words[0] == call->args.words[0];
}

/* Adds a call to the table. */
static __always_inline void begin_call(const struct call_key *key, struct call *call)
{
	struct call *known = bpf_map_lookup_elem(&calls, key);

	call->in_flight = CALL_IN_CALLS;
	if (known) {
		/* Any other call at this stack pointer never returned. */
		if (!known->in_flight ||
		    (!is_second_probe(known, call) && !is_tail_of(known, call)))
			*known = *call;
		return;
	}
	if (!bpf_map_update_elem(&calls, key, call, BPF_NOEXIST))
		return;
	call->in_flight = CALL_IN_MORE_CALLS;
	known = bpf_map_lookup_elem(&more_calls, key);
	if (known && (is_second_probe(known, call) || is_tail_of(known, call)))
		return;
	if (bpf_map_update_elem(&more_calls, key, call, BPF_ANY))
		count(COUNT_CALL_TABLE_FULL);
}

static __always_inline void end_call(const struct call_key *key, struct call *call)
{
	bool kept = call->in_flight == CALL_IN_CALLS;

	call->in_flight = CALL_ENDED;
	if (!kept)
		bpf_map_delete_elem(&more_calls, key);
}

#endif

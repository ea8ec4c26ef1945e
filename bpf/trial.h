/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Trials: placed sites of a function are compared during the recording with its entry and return
 * probes until enough calls agreed. Until then the entry and return probes record and the placed
 * sites only store their findings in the call; afterwards the placed sites record, and the recorder
 * removes the probes. A site that disagrees once never records.
 */
#ifndef SSLREC_TRIAL_H
#define SSLREC_TRIAL_H

#include "conn.h"

enum trial_step {
	TRIAL_ENTERED = 1,		/* the entry site found the arguments of the entry probe */
	TRIAL_EXITED = 2,		/* an exit site found a result */
};

_Static_assert((TRIALS_MAX & (TRIALS_MAX - 1)) == 0, "a power of two");

static __always_inline struct trial *trial_of(const struct site *site)
{
	__u32 index = site->trial;

	if (!index)
		return NULL;
	/* Masked for the verifier, in the register that is then used. */
	index &= TRIALS_MAX - 1;
	barrier_var(index);
	return &trials[index];
}

static __always_inline bool has_passed(const struct trial *trial)
{
	return trial->agreed >= TRIAL_CALLS && !trial->disagreed;
}

/* Returns whether a site records: always, unless its function is on trial. */
static __always_inline bool records(const struct site *site)
{
	const struct trial *trial = trial_of(site);

	if (!trial || site->trial_side == TRIAL_BOTH)
		return true;
	return has_passed(trial) == (site->trial_side == TRIAL_PLACED);
}

/* Returns the call in flight of the function whose placed site was hit. */
static __always_inline struct call *call_on_trial(const struct call_key *key,
						  const struct site *placed)
{
	struct call *call = call_at(key);
	const struct site *entry = call ? site_at(call->site) : NULL;

	return entry && entry->trial == placed->trial ? call : NULL;
}

/* Handles a placed entry site that does not record yet, with the call as seen there. Only data
 * calls need more than the object, and other kinds may have overwritten the rest. */
static __always_inline void try_entry(const struct call *seen, const struct call_key *key,
				      const struct site *site)
{
	struct call *call = call_on_trial(key, site);

	if (!call || call->ssl != seen->ssl)
		return;
	if (site->kind == SITE_DATA && (call->args.data.buf != seen->args.data.buf ||
					call->args.data.len != seen->args.data.len))
		return;
	if (site->kind == SITE_DATA && site->count_arg &&
	    call->args.data.count_ptr != seen->args.data.count_ptr)
		return;
	call->trial_steps |= TRIAL_ENTERED;
}

/* Handles a placed exit site that does not record yet, with the result that it found. Only the
 * first exit site of a call counts, as in exit_call(). */
static __always_inline void try_exit(const struct call_key *key, const struct site *site,
				     __s64 result)
{
	struct call *call = call_on_trial(key, site);
	struct trial *trial = trial_of(site);

	if (!call || !trial || call->trial_steps & TRIAL_EXITED)
		return;
	__sync_fetch_and_add(&trial->leaving, 1);
	call->trial_steps |= TRIAL_EXITED;
	call->trial_result = result;
}

/* Compares the sites' findings with `result`, which a call of a function on trial returned to its
 * return probe. */
static __noinline int judge(const struct call *call, const struct site *site, __s64 result)
{
	struct trial *trial = trial_of(site);
	__s64 found = call->trial_result;

	if (!trial)
		return 0;
	if (call->trial_steps & TRIAL_EXITED)
		__sync_fetch_and_add(&trial->leaving, -1);
	if (has_passed(trial))
		return 0;
	if (!site->result_64) {
		found = (__s32)found;
		result = (__s32)result;
	}
	if (call->trial_steps != (TRIAL_ENTERED | TRIAL_EXITED) || found != result) {
		if (!trial->disagreed)
			__sync_fetch_and_add(&trials_decided, 1);
		__sync_fetch_and_add(&trial->disagreed, 1);
	} else if (result > 0) {
		__sync_fetch_and_add(&trial->agreed, 1);
		if (trial->agreed >= TRIAL_CALLS)
			__sync_fetch_and_add(&trials_decided, 1);
	}
	return 0;
}

#endif

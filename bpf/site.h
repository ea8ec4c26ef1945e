/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The site of a probe, and the arguments of its function there.
 */
#ifndef SSLREC_SITE_H
#define SSLREC_SITE_H

#include "arch.h"
#include "maps.h"
#include <bpf/bpf_tracing.h>

static __always_inline __u32 site_by_code(struct pt_regs *ctx)
{
	struct site_key key = { .page_offset = PT_REGS_IP(ctx) & 0xfff };
	__u32 *index;

	if (bpf_probe_read_user(&key.code, sizeof(key.code), (void *)PT_REGS_IP(ctx) + 8))
		return 0;
	index = bpf_map_lookup_elem(&sites_by_code, &key);
	return index ? *index : 0;
}

/* Returns the index of the site in the map `sites`; 0 if the probe has none. */
static __always_inline __u32 site_index(struct pt_regs *ctx)
{
	__u32 index = settings.have_cookie ? bpf_get_attach_cookie(ctx) : site_by_code(ctx);

	if (!index)
		count(COUNT_UNKNOWN_SITE);
	return index;
}

static __always_inline const struct site *site_at(__u32 index)
{
	return index ? bpf_map_lookup_elem(&sites, &index) : NULL;
}

/* Returns the argument with this number, from 2 to 5. */
static __always_inline __u64 argument(struct pt_regs *ctx, __u8 number)
{
	__u64 second = PT_REGS_PARM2(ctx), third = PT_REGS_PARM3(ctx);
	__u64 fourth = PT_REGS_PARM4(ctx), fifth = PT_REGS_PARM5(ctx);

	/* Keeps clang from selecting between ctx addresses, which the verifier rejects. */
	barrier_var(second);
	barrier_var(third);
	barrier_var(fourth);
	barrier_var(fifth);
	switch (number) {
	case 2:
		return second;
	case 3:
		return third;
	case 4:
		return fourth;
	default:
		return fifth;
	}
}

#define GNUTLS_SERVER 1		/* gnutls/gnutls.h, the same since 1.0 */
#define GNUTLS_CLIENT 2

/* Returns the role that the function or the arguments of a call determine. */
static __always_inline __u8 role_of_call(struct pt_regs *ctx, const struct site *site)
{
	switch (site->role) {
	case ROLE_BY_GNUTLS_FLAGS:
		if (PT_REGS_PARM2(ctx) & GNUTLS_SERVER)
			return ROLE_SERVER;
		return PT_REGS_PARM2(ctx) & GNUTLS_CLIENT ? ROLE_CLIENT : ROLE_UNKNOWN;
	case ROLE_BY_AS_SERVER:
		return (__u32)PT_REGS_PARM2(ctx) ? ROLE_SERVER : ROLE_CLIENT;
	case ROLE_BY_S2N_MODE:
		return (__u32)PT_REGS_PARM1(ctx) ? ROLE_CLIENT : ROLE_SERVER;
	default:
		return site->role;
	}
}

#endif

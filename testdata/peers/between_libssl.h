/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The common half of libraries between a program and libssl: pointers to the functions of libssl,
 * and the functions that only forward. Each library defines SSL_read, SSL_write and
 * SSL_do_handshake itself, and calls resolve_libssl in its constructor.
 */
#ifndef BETWEEN_LIBSSL_H
#define BETWEEN_LIBSSL_H

#include <dlfcn.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

/* Resolved before main: the loader's lock would otherwise be taken within a TLS call. */
static int (*true_read)(SSL *, void *, int);
static int (*true_write)(SSL *, const void *, int);
static int (*true_do_handshake)(SSL *);
static int (*true_connect)(SSL *);
static int (*true_accept)(SSL *);
static void (*true_free)(SSL *);

int SSL_connect(SSL *ssl)
{
	return true_connect(ssl);
}

int SSL_accept(SSL *ssl)
{
	return true_accept(ssl);
}

void SSL_free(SSL *ssl)
{
	true_free(ssl);
}

static void resolve(void *pointer, const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	memcpy(pointer, &function, sizeof(function));
}

static void resolve_libssl(void)
{
	resolve(&true_read, "SSL_read");
	resolve(&true_write, "SSL_write");
	resolve(&true_do_handshake, "SSL_do_handshake");
	resolve(&true_connect, "SSL_connect");
	resolve(&true_accept, "SSL_accept");
	resolve(&true_free, "SSL_free");
}

#endif

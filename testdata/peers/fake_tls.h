/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A TLS library without TLS, for the one program file that includes it: the functions that the
 * recorder probes return at once.
 */
#ifndef FAKE_TLS_H
#define FAKE_TLS_H

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct ssl {
	char state[64];
};

/* The empty statements keep the compiler from seeing through the calls. */
#define PROBED __attribute__((noinline, noclone, visibility("default")))

PROBED int SSL_write(struct ssl *ssl, const void *buf, int num)
{
	__asm__ volatile("" : : "r"(ssl), "r"(buf) : "memory");
	return num;
}

PROBED int SSL_read(struct ssl *ssl, void *buf, int num)
{
	memset(buf, 'r', num);
	usleep(150 * 1000);
	__asm__ volatile("" : : "r"(ssl) : "memory");
	return num;
}

PROBED ssize_t SSL_sendfile(struct ssl *ssl, int fd, off_t offset, size_t size, int flags)
{
	__asm__ volatile("" : : "r"(ssl), "r"(fd), "r"(offset), "r"(flags) : "memory");
	return size;
}

PROBED void SSL_set_connect_state(struct ssl *ssl)
{
	__asm__ volatile("nop" : : "r"(ssl) : "memory");
}

PROBED void SSL_free(struct ssl *ssl)
{
	__asm__ volatile("" : : "r"(ssl) : "memory");
	free(ssl);
}

static inline struct ssl *connection(void)
{
	struct ssl *ssl = calloc(1, sizeof(*ssl));

	if (!ssl)
		exit(1);
	SSL_set_connect_state(ssl);
	return ssl;
}

#endif

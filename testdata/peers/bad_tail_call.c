/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A library between a program and libssl, whose SSL_read breaks a rule that the placement of probes
 * takes for granted: that a `call` which is the last instruction of a function does not come back.
 * So it looks as if each call came through a `jne` at which eax is the result, the `ret` being not
 * far behind. But the jump is always taken, and what is called at the end returns the true result.
 * Up to 100 bytes both are the same; of longer reads the `jne` sees no more than 100.
 *
 * With BRITTLE it is honest to the last byte instead, but traps if there is a breakpoint on the
 * `jne`: a place at which no probe can be.
 *
 * All other functions do as libssl's.
 *
 * Build: gcc -O2 -g -shared -fPIC -o bad_tail_call.so bad_tail_call.c -Wl,--no-as-needed -lssl
 *    or: gcc -O2 -g -shared -fPIC -DBRITTLE -o brittle.so bad_tail_call.c -Wl,--no-as-needed -lssl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

/* Resolved before main: the loader's lock would otherwise be taken within a TLS call. */
static int (*true_read)(SSL *, void *, int);
static int (*true_write)(SSL *, const void *, int);
static int (*true_read_ex)(SSL *, void *, size_t, size_t *);
static int (*true_write_ex)(SSL *, const void *, size_t, size_t *);
static int (*true_do_handshake)(SSL *);
static int (*true_connect)(SSL *);
static int (*true_accept)(SSL *);
static void (*true_free)(SSL *);

/* ---- the lie ---- */

__attribute__((used, visibility("hidden"))) int read_truly(SSL *ssl, void *buf, int num)
{
	return true_read(ssl, buf, num);
}

#ifdef BRITTLE
#define SEEN_AT_MOST "0x7fffffff"
#define CHECK_JUMP "	cmpb $0x75, 2f(%rip)\n	je 3f\n	ud2\n3:"
#else
#define SEEN_AT_MOST "100"
#define CHECK_JUMP ""
#endif

__asm__(".text\n"
	".globl SSL_read\n"
	".type SSL_read, @function\n"
	"SSL_read:\n"
	"	push %rbx\n"
	"	call read_truly\n"
	"	mov %eax, %ebx\n" /* what will be returned */
	CHECK_JUMP
	"	mov $" SEEN_AT_MOST ", %edx\n"
	"	cmp %edx, %eax\n"
	"	cmovg %edx, %eax\n"
	"	test %rsp, %rsp\n" /* which is never 0 */
	"2:	jne 1f\n"
	"	pop %rbx\n"
	"	ret\n"
	"1:	call come_back\n"
	".size SSL_read, . - SSL_read\n"
	/* To here, outside of the function. */
	"	mov %ebx, %eax\n"
	"	pop %rbx\n"
	"	ret\n"
	".type come_back, @function\n"
	"come_back:\n"
	"	ret\n"
	".size come_back, . - come_back\n");

/* ---- all others ---- */

int SSL_write(SSL *ssl, const void *buf, int num)
{
	return true_write(ssl, buf, num);
}

int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)
{
	return true_read_ex(ssl, buf, num, readbytes);
}

int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)
{
	return true_write_ex(ssl, buf, num, written);
}

int SSL_do_handshake(SSL *ssl)
{
	return true_do_handshake(ssl);
}

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

/* ---- */

static void resolve(void *pointer, const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	memcpy(pointer, &function, sizeof(function));
}

__attribute__((constructor)) static void begin(void)
{
	resolve(&true_read, "SSL_read");
	resolve(&true_write, "SSL_write");
	resolve(&true_read_ex, "SSL_read_ex");
	resolve(&true_write_ex, "SSL_write_ex");
	resolve(&true_do_handshake, "SSL_do_handshake");
	resolve(&true_connect, "SSL_connect");
	resolve(&true_accept, "SSL_accept");
	resolve(&true_free, "SSL_free");
}

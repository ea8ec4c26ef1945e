/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A library between a program and libssl, whose SSL_read breaks a rule that the placement of probes
 * relies on: a `call` that is the last instruction of a function does not return. From its
 * instructions each call seems to pass a `jne` at which eax is the result, shortly before a `ret`.
 * But the jump is always taken, and the function called at the end returns the true result. Up to
 * 100 bytes both are the same; of longer reads the `jne` sees no more than 100.
 *
 * With BRITTLE the `jne` sees the true result, but the function traps if there is a breakpoint on
 * the `jne`: a place at which no probe can be.
 *
 * All other functions behave like those of libssl.
 *
 * Build: gcc -O2 -g -shared -fPIC -o bad_tail_call.so bad_tail_call.c -Wl,--no-as-needed -lssl
 *    or: gcc -O2 -g -shared -fPIC -DBRITTLE -o brittle.so bad_tail_call.c -Wl,--no-as-needed -lssl
 */
#define _GNU_SOURCE
#include "between_libssl.h"

static int (*true_read_ex)(SSL *, void *, size_t, size_t *);
static int (*true_write_ex)(SSL *, const void *, size_t, size_t *);

/* The broken rule. */

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
	"	mov %eax, %ebx\n" /* the true result */
	CHECK_JUMP
	"	mov $" SEEN_AT_MOST ", %edx\n"
	"	cmp %edx, %eax\n"
	"	cmovg %edx, %eax\n"
	"	test %rsp, %rsp\n" /* never 0 */
	"2:	jne 1f\n"
	"	pop %rbx\n"
	"	ret\n"
	"1:	call come_back\n"
	".size SSL_read, . - SSL_read\n"
	/* The call returns here, outside of the function. */
	"	mov %ebx, %eax\n"
	"	pop %rbx\n"
	"	ret\n"
	".type come_back, @function\n"
	"come_back:\n"
	"	ret\n"
	".size come_back, . - come_back\n");

/* All other functions. */

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

__attribute__((constructor)) static void begin(void)
{
	resolve_libssl();
	resolve(&true_read_ex, "SSL_read_ex");
	resolve(&true_write_ex, "SSL_write_ex");
}

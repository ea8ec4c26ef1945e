/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Coroutines that are suspended inside a call of the TLS library, each on a stack of its own, and
 * go on in another order than they stopped in, as libraries of fibres and green threads do. A
 * return probe loses its way there: the kernel keeps the return addresses of a thread in a list
 * that follows one stack.
 *
 *   coroutines read N     N connections; only SSL_read is suspended
 *   coroutines data N     SSL_write and SSL_shutdown as well
 *   coroutines threads N  as `data`, and what one thread suspends another one resumes
 *   coroutines all N      as `data`, and handshakes as well
 *
 * Each connection is a client in a coroutine and a server on an ordinary thread. Prints the truth
 * of every end, as tls_cases does, after it has compared what came with what was to come.
 *
 * Build: gcc -O2 -g -o coroutines coroutines.c peer.c -lssl -lcrypto -pthread
 */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_SIZE ((size_t)256 << 10) /* a handshake wants less than a quarter */
#define ROUNDS 4

struct coroutine {
	ucontext_t context;
	struct duo duo;
	struct pollfd wanted; /* what it is suspended for */
	bool handshake_inside, done;
};

/* One thread runs coroutines at any time, so that this has no more than one user. */
static ucontext_t scheduler;
static struct coroutine *running;
static bool suspend_writes;

/* ---- a BIO that suspends ---- */

/* Outside a coroutine it returns at once and the descriptor blocks. */
static void suspend(short events)
{
	struct coroutine *self = running;

	if (!self)
		return;
	self->wanted = (struct pollfd){ .fd = self->duo.client.fd, .events = events };
	if (swapcontext(&self->context, &scheduler))
		die("swapcontext");
}

/* Suspends before each operation and not only where it would block: the order of events then is
 * the same in every run. */
static int bio_read(BIO *bio, char *data, size_t len, size_t *got)
{
	struct coroutine *owner = BIO_get_data(bio);
	ssize_t n;

	suspend(POLLIN);
	while ((n = recv(owner->duo.client.fd, data, len, 0)) < 0 && errno == EAGAIN)
		suspend(POLLIN);
	*got = n > 0 ? n : 0;
	return n > 0;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *written)
{
	struct coroutine *owner = BIO_get_data(bio);
	ssize_t n;

	if (suspend_writes)
		suspend(POLLOUT);
	while ((n = send(owner->duo.client.fd, data, len, 0)) < 0 && errno == EAGAIN)
		suspend(POLLOUT);
	*written = n > 0 ? n : 0;
	return n > 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static void use_suspending_bio(struct coroutine *self)
{
	static BIO_METHOD *method;
	BIO *bio;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "coroutine");
		BIO_meth_set_read_ex(method, bio_read);
		BIO_meth_set_write_ex(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	bio = BIO_new(method);
	BIO_set_data(bio, self);
	BIO_set_init(bio, 1);
	SSL_set_bio(self->duo.client.ssl, bio, bio);
}

/* ---- both ends of a connection ---- */

/* From below one TLS record to several; different on each connection and in each round. */
static size_t request_len(uint64_t conn, int round)
{
	return 100 + 997 * conn + 9001 * round;
}

static size_t reply_len(uint64_t conn, int round)
{
	return 300 + 1009 * conn + 17011 * round;
}

/* Reads a message and compares it. The buffer is of the heap: a coroutine's stack is small. */
static void expect_message(struct end *e, const char *tag, uint64_t number, size_t len)
{
	unsigned char *expected = malloc(len), *got = malloc(len);

	fill(expected, len, tag, number);
	for (size_t done = 0; done < len;) {
		int n = SSL_read(e->ssl, got + done, len - done);

		if (n <= 0)
			die("%s SSL_read: SSL error %d", e->name, SSL_get_error(e->ssl, n));
		note_received(e, got + done, n);
		done += n;
	}
	if (memcmp(expected, got, len))
		die("%s: %s %llu is not what was sent", e->name, tag, (unsigned long long)number);
	free(expected);
	free(got);
}

static void serve(struct duo *d)
{
	end_handshake(&d->server);
	for (int round = 0; round < ROUNDS; round++) {
		expect_message(&d->server, "request", d->count, request_len(d->count, round));
		write_message(&d->server, "reply", d->count, reply_len(d->count, round));
	}
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void client(int low, int high)
{
	struct coroutine *self = running;
	struct duo *d = &self->duo;

	(void)low, (void)high;
	if (self->handshake_inside)
		end_handshake(&d->client);
	for (int round = 0; round < ROUNDS; round++) {
		write_message(&d->client, "request", d->count, request_len(d->count, round));
		expect_message(&d->client, "reply", d->count, reply_len(d->count, round));
	}
	end_close(&d->client);
	self->done = true;
}

static void prepare(struct coroutine *self, uint64_t number, bool handshake_inside)
{
	self->duo.count = number;
	duo_start(&self->duo, "127.0.0.1", serve);
	use_suspending_bio(self);
	self->handshake_inside = handshake_inside;
	if (!handshake_inside)
		end_handshake(&self->duo.client);
	set_blocking(self->duo.client.fd, false);
	if (getcontext(&self->context))
		die("getcontext");
	self->context.uc_stack.ss_sp = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (self->context.uc_stack.ss_sp == MAP_FAILED)
		die("mmap");
	self->context.uc_stack.ss_size = STACK_SIZE;
	self->context.uc_link = &scheduler;
	makecontext(&self->context, (void (*)(void))client, 0);
}

/* ---- the scheduler ---- */

static struct coroutine *coroutines;
static uint64_t count;

/* Every one that is suspended can go on. Each waits for its own server and for nobody else. */
static void wait_for_all(void)
{
	for (uint64_t i = 0; i < count; i++) {
		struct coroutine *c = &coroutines[i];

		if (!c->done && c->wanted.events && poll(&c->wanted, 1, 10000) != 1)
			die("connection %llu waits for nothing", (unsigned long long)i);
	}
}

/* The place in which the wave takes its `n`-th coroutine: neither the order of the wave before nor
 * its reverse, which would suit a stack. A step that is prime to the count meets each once. */
static uint64_t place(uint64_t wave, uint64_t n)
{
	static const uint64_t primes[] = { 3, 7, 11, 5 };
	uint64_t step = primes[wave % 4];

	return (wave + n * (count % step ? step : 1)) % count;
}

/* Runs each coroutine up to where it is suspended next. False once none is left. */
static bool run_wave(uint64_t wave)
{
	bool any = false;

	wait_for_all();
	for (uint64_t n = 0; n < count; n++) {
		struct coroutine *c = &coroutines[place(wave, n)];

		if (c->done)
			continue;
		any = true;
		running = c;
		if (swapcontext(&scheduler, &c->context))
			die("swapcontext");
		running = NULL;
	}
	return any;
}

/* Two threads take turns, wave by wave; alone, a thread's turn comes at once. */
static sem_t turns[2];
static uint64_t threads = 1, next_wave;
static bool over;

static void *take_turns(void *argument)
{
	uint64_t self = (uintptr_t)argument;

	while (!over) {
		sem_wait(&turns[self]);
		if (!over)
			over = !run_wave(next_wave++);
		sem_post(&turns[(self + 1) % threads]);
	}
	return NULL;
}

static void run_all(void)
{
	pthread_t other;

	sem_init(&turns[0], 0, 1);
	sem_init(&turns[1], 0, 0);
	if (threads == 2 && pthread_create(&other, NULL, take_turns, (void *)1))
		die("pthread_create");
	take_turns((void *)0);
	if (threads == 2)
		pthread_join(other, NULL);
}

int main(int argc, char **argv)
{
	SSL_CTX *client_ctx = new_client_ctx(), *server_ctx = new_server_ctx();
	const char *mode = argc == 3 ? argv[1] : "";
	bool handshake_inside = !strcmp(mode, "all");

	alarm(60);
	signal(SIGPIPE, SIG_IGN);
	if (!handshake_inside && strcmp(mode, "read") && strcmp(mode, "data") &&
	    strcmp(mode, "threads"))
		die("usage: coroutines read|data|threads|all N");
	count = strtoull(argv[2], NULL, 10);
	coroutines = calloc(count, sizeof(*coroutines));
	for (uint64_t i = 0; i < count; i++) {
		coroutines[i].duo.client_ctx = client_ctx;
		coroutines[i].duo.server_ctx = server_ctx;
		prepare(&coroutines[i], i, handshake_inside);
	}
	suspend_writes = strcmp(mode, "read") != 0;
	threads = strcmp(mode, "threads") ? 1 : 2;
	run_all();
	for (uint64_t i = 0; i < count; i++)
		duo_join(&coroutines[i].duo);
	return 0;
}

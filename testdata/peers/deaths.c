/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "deaths.h"
#include "peer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_barrier_t received;

/* Takes the client's message, and then keeps still for ever. */
static void serve_silence(struct duo *d)
{
	end_handshake(&d->server);
	read_all(&d->server, 1000, 1000);
	pthread_barrier_wait(&received);
	for (;;)
		pause();
}

/* A connection over which a message went, the truth of which is told. */
static void begin(struct duo *d)
{
	pthread_barrier_init(&received, NULL, 2);
	duo_start(d, "127.0.0.1", serve_silence);
	end_handshake(&d->client);
	write_message(&d->client, "last words", 1, 1000);
	pthread_barrier_wait(&received);
	end_truth(&d->client);
	end_truth(&d->server);
	fflush(stdout);
}

static void *wait_in_read(void *argument)
{
	struct duo *d = argument;
	char buffer[100];

	die("SSL_read gave %d", SSL_read(d->client.ssl, buffer, sizeof(buffer)));
}

static void leave_in_read(struct duo *d)
{
	pthread_t thread;

	begin(d);
	if (pthread_create(&thread, NULL, wait_in_read, d))
		die("pthread_create");
	usleep(200 * 1000);
}

void die_in_read(void)
{
	struct duo d = { 0 };

	leave_in_read(&d);
	kill(getpid(), SIGKILL);
}

void exec_in_read(char **argv)
{
	struct duo d = { 0 };

	leave_in_read(&d);
	execl("/proc/self/exe", argv[0], "exchange", NULL);
	die("execl");
}

static long abort_on_write(BIO *bio, int operation, const char *data, size_t len, int number,
			   long more, int result, size_t *processed)
{
	(void)bio, (void)data, (void)len, (void)number, (void)more, (void)processed;
	if (operation == BIO_CB_WRITE)
		abort();
	return result;
}

void die_in_write(void)
{
	struct duo d = { 0 };

	begin(&d);
	BIO_set_callback_ex(SSL_get_wbio(d.client.ssl), abort_on_write);
	write_message(&d.client, "unsaid", 2, 500);
}

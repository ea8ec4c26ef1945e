/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * HTTP/1.1 over a kept-alive connection, client and server in one process, while the recorder is
 * held up again and again so that its ring overruns. Each response names its request, in a header
 * and in its body: /N is answered with "x-answers: /N".
 *
 * Arguments: number of requests, and of requests that are sent before their responses are read.
 * Prints, besides the truth, the place in its stream where each request and each response ends.
 *
 * Build: gcc -O2 -g -o http_flood http_flood.c peer.c -lssl -lcrypto -pthread
 */
#define _GNU_SOURCE
#include "peer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_MAX 4096
#define BODY_MAX 40000
#define PIPELINE_MAX 16
#define COUNT_MAX 100000

static const char REQUEST[] = "GET /%lu HTTP/1.1\r\nhost: localhost\r\n%s%.*s\r\n\r\n";
static const char RESPONSE[] = "HTTP/1.1 200 OK\r\nx-answers: /%lu\r\ncontent-length: %zu\r\n\r\n";

/* Numbers that are the same in every run. */
static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* ---- Requests and responses ---- */

static void send_request(struct end *e, uint64_t number, uint32_t *random)
{
	static const char padding[1000] = { [0 ... 999] = 'p' };
	char text[REQUEST_MAX];
	int pad = next_random(random) % 4 ? 0 : next_random(random) % 1000;
	int len = snprintf(text, sizeof(text), REQUEST, number, pad ? "x-padding: " : "x-none: ",
			   pad, padding);

	write_all(e, text, len);
}

static void send_response(struct end *e, uint64_t number, uint32_t *random)
{
	static char text[200 + BODY_MAX];
	size_t body = 20 + (next_random(random) % 8 ? next_random(random) % 600
						    : next_random(random) % (BODY_MAX - 20));
	int head = snprintf(text, 200, RESPONSE, number, body);

	memset(text + head, 'b', body);
	snprintf(text + head, body, "answer to /%lu ", number);
	write_all(e, text, head + body);
}

/* Reads until the buffer of `*have` bytes contains a blank line, and returns the place after it. */
static size_t read_head(struct end *e, char *buffer, size_t size, size_t *have)
{
	char *end;
	int n;

	while (!(end = memmem(buffer, *have, "\r\n\r\n", 4))) {
		n = SSL_read(e->ssl, buffer + *have, size - *have);
		if (n <= 0)
			return 0;
		note_received(e, buffer + *have, n);
		*have += n;
	}
	return end + 4 - buffer;
}

static void drop(char *buffer, size_t *have, size_t len)
{
	memmove(buffer, buffer + len, *have - len);
	*have -= len;
}

/* ---- The ends ---- */

static void serve(struct duo *d)
{
	static char buffer[PIPELINE_MAX * REQUEST_MAX];
	size_t have = 0, end;
	uint32_t random = 2;

	end_handshake(&d->server);
	while ((end = read_head(&d->server, buffer, sizeof(buffer), &have))) {
		uint64_t number = strtoul(buffer + strlen("GET /"), NULL, 10);

		drop(buffer, &have, end);
		send_response(&d->server, number, &random);
	}
	end_close(&d->server);
}

static void read_response(struct end *e, char *buffer, size_t size, size_t *have)
{
	size_t head = read_head(e, buffer, size, have), body;
	int n;

	if (!head)
		die("no response");
	body = strtoul((char *)memmem(buffer, head, "content-length: ", 16) + 16, NULL, 10);
	while (*have < head + body) {
		n = SSL_read(e->ssl, buffer + *have, size - *have);
		if (n <= 0)
			die("no body");
		note_received(e, buffer + *have, n);
		*have += n;
	}
	drop(buffer, have, head + body);
}

/* Stops the parent or lets it continue, at places that are random among the exchanges. */
static void hold_up(uint32_t *random)
{
	static bool stopped;

	if (next_random(random) % 64)
		return;
	stopped = !stopped;
	kill(getppid(), stopped ? SIGSTOP : SIGCONT);
	/* Time to empty the ring. */
	if (!stopped)
		usleep(30000);
}

int main(int argc, char **argv)
{
	static char buffer[PIPELINE_MAX * (200 + BODY_MAX)];
	static uint64_t ends[2][COUNT_MAX + PIPELINE_MAX];
	uint64_t count = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	uint64_t pipeline = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	uint32_t random = 1, pauses = 3;
	struct duo d = { 0 };
	size_t have = 0;

	if (!pipeline || pipeline > PIPELINE_MAX || count > COUNT_MAX)
		die("usage: http_flood COUNT PIPELINE");
	duo_start(&d, "127.0.0.1", serve);
	end_handshake(&d.client);
	for (uint64_t number = 1; number <= count; number += pipeline) {
		for (uint64_t i = 0; i < pipeline; i++) {
			send_request(&d.client, number + i, &random);
			ends[0][number + i] = d.client.sent;
		}
		for (uint64_t i = 0; i < pipeline; i++) {
			hold_up(&pauses);
			read_response(&d.client, buffer, sizeof(buffer), &have);
			ends[1][number + i] = d.client.received - have;
		}
		hold_up(&pauses);
	}
	kill(getppid(), SIGCONT);
	end_close(&d.client);
	duo_join(&d);
	for (uint64_t number = 1; number <= count; number++) {
		printf("request %lu ends at %lu\n", number, ends[0][number]);
		printf("response %lu ends at %lu\n", number, ends[1][number]);
	}
	return 0;
}

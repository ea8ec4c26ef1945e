/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "volume.h"
#include "peer.h"
#include "stall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void serve_flood(struct duo *d)
{
	end_handshake(&d->server);
	read_to_end(&d->server, 65536);
	end_close(&d->server);
}

/* Each 8 bytes hold their own place in the stream, so that a hole can be measured. */
void flood(uint64_t count, uint64_t size)
{
	struct duo d = { 0 };
	uint64_t *words = malloc(size);
	uint64_t place = 0;

	if (size % 8)
		die("SIZE must be a multiple of 8");
	duo_start(&d, "127.0.0.1", serve_flood);
	end_handshake(&d.client);
	for (uint64_t i = 0; i < count; i++) {
		stall_parent(i, count);
		for (uint64_t j = 0; j < size / 8; j++, place += 8)
			words[j] = place;
		write_all(&d.client, words, size);
	}
	end_close(&d.client);
	duo_join(&d);
	free(words);
}

static void serve_rush(struct duo *d)
{
	unsigned char buffer[65536];
	int n;

	end_handshake(&d->server);
	while ((n = SSL_read(d->server.ssl, buffer, sizeof(buffer))) > 0)
		d->server.received += n;
	SSL_shutdown(d->server.ssl);
	SSL_free(d->server.ssl);
	close(d->server.fd);
}

/* As fast as two threads go: nothing is computed between the calls, and so there is no truth but
 * the count. */
void rush(uint64_t count, uint64_t size)
{
	struct duo d = { 0 };
	unsigned char *data = malloc(size);
	uint64_t start;

	duo_start(&d, "127.0.0.1", serve_rush);
	end_handshake(&d.client);
	fill(data, size, "rush", 1);
	start = now_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0; i < count; i++)
		if (SSL_write(d.client.ssl, data, size) != (int)size)
			die("SSL_write");
	SSL_shutdown(d.client.ssl);
	duo_join(&d);
	printf("{\"bytes\":%llu,\"seconds\":%.6f}\n", (unsigned long long)d.server.received,
	       (now_ns(CLOCK_MONOTONIC) - start) / 1e9);
	SSL_free(d.client.ssl);
	close(d.client.fd);
	free(data);
}

/* Messages that begin with the time at which they were sent, decimal nanoseconds, 20 digits. */
void pace(uint64_t seconds, uint64_t interval_us, uint64_t size)
{
	uint64_t end = now_ns(CLOCK_MONOTONIC) + seconds * 1000000000;
	unsigned char *data = malloc(size + 32);
	struct duo d = { 0 };

	duo_start(&d, "127.0.0.1", serve_flood);
	end_handshake(&d.client);
	memset(data, '.', size);
	while (now_ns(CLOCK_MONOTONIC) < end) {
		char stamp[32];

		snprintf(stamp, sizeof(stamp), "%020llu ",
			 (unsigned long long)now_ns(CLOCK_REALTIME));
		memcpy(data, stamp, 21);
		write_all(&d.client, data, size);
		usleep(interval_us);
	}
	end_close(&d.client);
	duo_join(&d);
	free(data);
}

static pthread_barrier_t all_connected;

static void *one_of_many(void *argument)
{
	struct duo *d = argument;

	duo_start(d, "127.0.0.1", serve_exchange);
	end_handshake(&d->client);
	pthread_barrier_wait(&all_connected);
	write_message(&d->client, "request", d->count, 1000);
	read_all(&d->client, 3000, 4096);
	pthread_barrier_wait(&all_connected);
	end_close(&d->client);
	duo_join(d);
	return NULL;
}

void many(uint64_t count)
{
	SSL_CTX *client_ctx = new_client_ctx(), *server_ctx = new_server_ctx();
	pthread_t *threads = calloc(count, sizeof(*threads));
	struct duo *duos = calloc(count, sizeof(*duos));

	pthread_barrier_init(&all_connected, NULL, count);
	for (uint64_t i = 0; i < count; i++) {
		duos[i].client_ctx = client_ctx;
		duos[i].server_ctx = server_ctx;
		duos[i].count = i;
		if (pthread_create(&threads[i], NULL, one_of_many, &duos[i]))
			die("pthread_create");
	}
	for (uint64_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	free(duos);
}

/* The kernel reads the file; its bytes never are in this program's memory. */
void sendfile_ktls(void)
{
	struct duo d = { .client_ctx = new_client_ctx() };
	unsigned char data[50000];
	FILE *file = tmpfile();

	SSL_CTX_set_options(d.client_ctx, SSL_OP_ENABLE_KTLS);
	duo_start(&d, "127.0.0.1", serve_flood);
	end_handshake(&d.client);
	if (!BIO_get_ktls_send(SSL_get_wbio(d.client.ssl))) {
		end_close(&d.client);
		duo_join(&d);
		printf("{\"skipped\":\"no kernel TLS\"}\n");
		return;
	}
	fill(data, sizeof(data), "file", 1);
	if (fwrite(data, 1, sizeof(data), file) != sizeof(data) || fflush(file))
		die("temporary file");
	write_message(&d.client, "before", 1, 500);
	for (size_t done = 0; done < sizeof(data);) {
		ossl_ssize_t n = SSL_sendfile(d.client.ssl, fileno(file), done, sizeof(data) - done, 0);

		if (n <= 0)
			die("SSL_sendfile");
		note_sent(&d.client, data + done, n);
		done += n;
	}
	write_message(&d.client, "after", 2, 500);
	end_close(&d.client);
	duo_join(&d);
}

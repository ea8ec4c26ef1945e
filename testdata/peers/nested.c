/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "nested.h"
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Both ends on this thread, joined by a BIO pair that holds up to `capacity` bytes each way. */
static void open_pair(struct end *client, struct end *server, size_t capacity)
{
	BIO *client_bio, *server_bio;

	end_open(client, new_client_ctx(), -1, false, "client");
	end_open(server, new_server_ctx(), -1, true, "server");
	if (BIO_new_bio_pair(&client_bio, capacity, &server_bio, capacity) != 1)
		die("BIO_new_bio_pair");
	SSL_set_bio(client->ssl, client_bio, client_bio);
	SSL_set_bio(server->ssl, server_bio, server_bio);
	SSL_set_connect_state(client->ssl);
	SSL_set_accept_state(server->ssl);
	for (int i = 0; i < 20; i++) {
		int a = SSL_do_handshake(client->ssl);
		int b = SSL_do_handshake(server->ssl);

		if (a == 1 && b == 1)
			return;
	}
	die("no handshake through the BIO pair");
}

void memory_bio(void)
{
	struct end client, server;

	open_pair(&client, &server, 65536);
	for (uint64_t i = 0; i < 10; i++) {
		write_message(&client, "request", i, 1000 + i);
		read_all(&server, 1000 + i, 300);
		write_message(&server, "reply", i, 3000 + i);
		read_all(&client, 3000 + i, 4096);
	}
	end_close(&client);
	end_close(&server);
}

/* Nothing but the library: what a recorder adds to a call shows here. */
void bench_bio(uint64_t count, uint64_t size)
{
	struct end client, server;
	struct timespec start, end;
	unsigned char *data = malloc(size), *back = malloc(size);
	uint64_t calls = 0;
	double ns;

	open_pair(&client, &server, size + 65536);
	fill(data, size, "bench", 1);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t left = size;

		if (SSL_write(client.ssl, data, size) != (int)size)
			die("SSL_write");
		calls++;
		while (left > 0) {
			int n = SSL_read(server.ssl, back, left);

			if (n <= 0)
				die("SSL_read");
			calls++;
			left -= n;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	ns = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec);
	printf("{\"calls\":%llu,\"bytes\":%llu,\"ns_per_call\":%.1f}\n", (unsigned long long)calls,
	       (unsigned long long)(count * size), ns / calls);
	SSL_free(client.ssl);
	SSL_free(server.ssl);
	free(data);
	free(back);
}

/* A BIO that carries the records of one TLS connection as the data of another. */
static int tunnel_write(BIO *bio, const char *data, size_t len, size_t *written)
{
	write_all(BIO_get_data(bio), data, len);
	*written = len;
	return 1;
}

static int tunnel_read(BIO *bio, char *data, size_t len, size_t *got)
{
	struct end *tunnel = BIO_get_data(bio);
	int n = SSL_read(tunnel->ssl, data, len);

	if (n <= 0)
		return 0;
	note_received(tunnel, data, n);
	*got = n;
	return 1;
}

static long tunnel_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static void open_through(struct end *e, SSL_CTX *ctx, struct end *tunnel)
{
	static BIO_METHOD *methods[2];
	BIO_METHOD **method = &methods[tunnel->server];
	BIO *bio;

	if (!*method) {
		*method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tunnel");
		BIO_meth_set_write_ex(*method, tunnel_write);
		BIO_meth_set_read_ex(*method, tunnel_read);
		BIO_meth_set_ctrl(*method, tunnel_ctrl);
	}
	end_open(e, ctx, -1, tunnel->server, tunnel->server ? "server-through" : "client-through");
	bio = BIO_new(*method);
	BIO_set_data(bio, tunnel);
	BIO_set_init(bio, 1);
	SSL_set_bio(e->ssl, bio, bio);
}

enum { ROUNDS = 10 };

static void serve_tunnel(struct duo *d)
{
	struct end through;

	end_handshake(&d->server);
	open_through(&through, d->server_ctx, &d->server);
	end_handshake(&through);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		read_all(&through, 1000 + i, 300);
		write_message(&through, "reply", i, 30000 + i);
	}
	read_to_end(&through, 100);
	end_close(&through);
	end_close(&d->server);
}

void tls_in_tls(void)
{
	struct duo d = { 0 };
	struct end through;

	duo_start(&d, "127.0.0.1", serve_tunnel);
	end_handshake(&d.client);
	open_through(&through, d.client_ctx, &d.client);
	end_handshake(&through);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		write_message(&through, "request", i, 1000 + i);
		read_all(&through, 30000 + i, 4096);
	}
	end_close(&through);
	end_close(&d.client);
	duo_join(&d);
}

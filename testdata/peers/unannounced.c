/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "unannounced.h"
#include "peer.h"

#include <stdlib.h>

#define ROUNDS 10

static void open_unannounced(struct end *e, SSL_CTX *ctx, int fd, bool server, const char *name)
{
	end_open(e, ctx, -1, server, name);
	e->fd = fd;
	end_addresses(e);
}

/* ---- a BIO of the program's own making: the library does the socket I/O ---- */

static void open_with_bio(struct end *e, SSL_CTX *ctx, int fd, bool server, const char *name)
{
	BIO *bio = BIO_new_socket(fd, BIO_NOCLOSE);

	if (!bio)
		die("BIO_new_socket");
	open_unannounced(e, ctx, fd, server, name);
	SSL_set_bio(e->ssl, bio, bio);
}

static void serve_by_bio(struct duo *d)
{
	end_handshake(&d->server);
	read_all(&d->server, 1500, 300);
	write_message(&d->server, "reply", 1, 3500);
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void exchange_by_bio(const char *host)
{
	struct duo d = { .open = open_with_bio };

	duo_start(&d, host, serve_by_bio);
	end_handshake(&d.client);
	write_message(&d.client, "request", 1, 1500);
	read_all(&d.client, 3500, 4096);
	end_close(&d.client);
	duo_join(&d);
}

void socket_bio(void)
{
	exchange_by_bio("127.0.0.1");
	exchange_by_bio("::1");
}

/* ---- memory BIOs: the program does it, between the calls ---- */

static void open_fed(struct end *e, SSL_CTX *ctx, int fd, bool server, const char *name)
{
	open_unannounced(e, ctx, fd, server, name);
	SSL_set_bio(e->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (server)
		SSL_set_accept_state(e->ssl);
	else
		SSL_set_connect_state(e->ssl);
}

static void send_made(struct end *e)
{
	char data[20000];
	int n;

	while ((n = BIO_read(SSL_get_wbio(e->ssl), data, sizeof(data))) > 0)
		if (send(e->fd, data, n, 0) != n)
			die("%s: send", e->name);
}

static void receive_some(struct end *e)
{
	char data[20000];
	int n = recv(e->fd, data, sizeof(data), 0);

	if (n <= 0 || BIO_write(SSL_get_rbio(e->ssl), data, n) != n)
		die("%s: recv", e->name);
}

static void fed_handshake(struct end *e)
{
	for (;;) {
		int result = SSL_do_handshake(e->ssl);

		send_made(e);
		if (result == 1)
			return;
		receive_some(e);
	}
}

static void fed_write(struct end *e, const char *tag, uint64_t number, size_t len)
{
	write_message(e, tag, number, len);
	send_made(e);
}

/* Up to `len` bytes, or to the end of the stream. */
static void fed_read(struct end *e, size_t len)
{
	unsigned char buffer[4096];

	while (len > 0) {
		int n = SSL_read(e->ssl, buffer, len < sizeof(buffer) ? len : sizeof(buffer));

		if (n > 0) {
			note_received(e, buffer, n);
			len -= n;
		} else if (SSL_get_error(e->ssl, n) == SSL_ERROR_WANT_READ) {
			receive_some(e);
		} else {
			return;
		}
	}
}

static void fed_close(struct end *e)
{
	SSL_shutdown(e->ssl);
	send_made(e);
	fed_read(e, 1);
	end_abandon(e);
}

static void serve_fed(struct duo *d)
{
	fed_handshake(&d->server);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		fed_read(&d->server, 1000 + i);
		fed_write(&d->server, "reply", i, 3000 + i);
	}
	fed_close(&d->server);
}

static void exchange_fed(const char *host)
{
	struct duo d = { .open = open_fed };

	duo_start(&d, host, serve_fed);
	fed_handshake(&d.client);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		fed_write(&d.client, "request", i, 1000 + i);
		fed_read(&d.client, 3000 + i);
	}
	fed_close(&d.client);
	duo_join(&d);
}

void fed_by_hand(void)
{
	exchange_fed("127.0.0.1");
	exchange_fed("::1");
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The ways in which programs use a TLS library, one sub-command each, over loopback. Each case
 * prints the truth: a JSON line for every end of a connection with its role, addresses, byte
 * counts and the sha256 of each direction. The live tests record it and compare.
 *
 * Build: gcc -O2 -g -o tls_cases tls_cases.c mapped.c nested.c shared.c unannounced.c volume.c deaths.c peer.c -lssl -lcrypto -pthread
 */
#define _GNU_SOURCE
#include "deaths.h"
#include "mapped.h"
#include "nested.h"
#include "peer.h"
#include "shared.h"
#include "unannounced.h"
#include "volume.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

/* ---- sizes and variants of the calls ---- */

static void serve_big_write(struct duo *d)
{
	static const size_t chunks[] = { 1, 100, 8192, 8193, 16384, 16385, 70000 };
	size_t left = MIB;

	end_handshake(&d->server);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(*chunks); i++) {
		read_all(&d->server, chunks[i], chunks[i]);
		left -= chunks[i];
	}
	read_all(&d->server, left, MIB);
	write_message(&d->server, "big-reply", 1, MIB + 1);
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void big_write(void)
{
	struct duo d = { 0 };

	duo_start(&d, "127.0.0.1", serve_big_write);
	end_handshake(&d.client);
	write_message(&d.client, "big", 1, MIB);
	read_all(&d.client, MIB + 1, 1000);
	end_close(&d.client);
	duo_join(&d);
}

static void write_ex(struct end *e, uint64_t number, size_t len)
{
	unsigned char *data = malloc(len);
	size_t written = 0;

	fill(data, len, "ex", number);
	if (SSL_write_ex(e->ssl, data, len, &written) != 1 || written != len)
		die("SSL_write_ex");
	note_sent(e, data, written);
	free(data);
}

static void read_ex(struct end *e, size_t len)
{
	unsigned char buffer[5000];
	size_t n;

	while (len > 0) {
		if (SSL_read_ex(e->ssl, buffer, len < sizeof(buffer) ? len : sizeof(buffer), &n) != 1)
			die("SSL_read_ex");
		note_received(e, buffer, n);
		len -= n;
	}
}

static void serve_ex(struct duo *d)
{
	size_t n;
	char byte;

	end_handshake(&d->server);
	for (uint64_t i = 0; i < 20; i++) {
		read_ex(&d->server, 1 + i * 1000);
		write_ex(&d->server, i, 2 + i * 2000);
	}
	/* The end of the stream: SSL_read_ex returns 0 and leaves n alone. */
	n = 12345;
	if (SSL_read_ex(d->server.ssl, &byte, 1, &n) != 0)
		die("bytes after the end");
	end_close(&d->server);
}

static void ex(void)
{
	struct duo d = { 0 };

	duo_start(&d, "127.0.0.1", serve_ex);
	end_handshake(&d.client);
	for (uint64_t i = 0; i < 20; i++) {
		write_ex(&d.client, i, 1 + i * 1000);
		read_ex(&d.client, 2 + i * 2000);
	}
	end_close(&d.client);
	duo_join(&d);
}

/* ---- non-blocking sockets ---- */

static void serve_slow_reader(struct duo *d)
{
	end_handshake(&d->server);
	usleep(100000);
	read_to_end(&d->server, 20000);
	end_close(&d->server);
}

/* With SSL_MODE_ENABLE_PARTIAL_WRITE a call may take a part; without it, it takes all, after
 * as many repetitions with the same arguments as it needs. Either way WANT_WRITE is met. */
static void nonblocking_writer(long mode)
{
	const size_t len = 4 * MIB;
	unsigned char *data = malloc(len);
	struct duo d = { 0 };
	int small = 32768, wants = 0;
	size_t done = 0;

	duo_start(&d, "127.0.0.1", serve_slow_reader);
	SSL_set_mode(d.client.ssl, mode);
	setsockopt(d.client.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	end_handshake(&d.client);
	set_blocking(d.client.fd, false);
	fill(data, len, "partial", 1);
	while (done < len) {
		int n = SSL_write(d.client.ssl, data + done, len - done);

		if (n > 0) {
			note_sent(&d.client, data + done, n);
			done += n;
			continue;
		}
		wants++;
		wait_for(d.client.fd, SSL_get_error(d.client.ssl, n));
	}
	if (!wants)
		die("WANT_WRITE was never met");
	set_blocking(d.client.fd, true);
	end_close(&d.client);
	duo_join(&d);
	free(data);
}

static void serve_paced(struct duo *d)
{
	end_handshake(&d->server);
	for (uint64_t i = 0; i < 100; i++) {
		write_message(&d->server, "paced", i, 100 + i);
		usleep(2000);
	}
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void want_read(void)
{
	struct duo d = { 0 };
	size_t left = 0;
	int wants = 0;
	char buffer[77];

	for (size_t i = 0; i < 100; i++)
		left += 100 + i;
	duo_start(&d, "127.0.0.1", serve_paced);
	end_handshake(&d.client);
	set_blocking(d.client.fd, false);
	while (left > 0) {
		int n = SSL_read(d.client.ssl, buffer, sizeof(buffer));

		if (n > 0) {
			note_received(&d.client, buffer, n);
			left -= n;
			continue;
		}
		wants++;
		wait_for(d.client.fd, SSL_get_error(d.client.ssl, n));
	}
	if (wants < 10)
		die("WANT_READ was met only %d times", wants);
	set_blocking(d.client.fd, true);
	end_close(&d.client);
	duo_join(&d);
}

/* ---- handshakes ---- */

static void serve_handshake_in_read(struct duo *d)
{
	SSL_set_accept_state(d->server.ssl);
	read_all(&d->server, 1000, 300);
	write_message(&d->server, "reply", 1, 3000);
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void handshake_in_read(void)
{
	struct duo d = { 0 };

	duo_start(&d, "127.0.0.1", serve_handshake_in_read);
	SSL_set_connect_state(d.client.ssl);
	write_message(&d.client, "request", 1, 1000);
	read_all(&d.client, 3000, 4096);
	end_close(&d.client);
	duo_join(&d);
}

static void serve_early_data(struct duo *d)
{
	unsigned char buffer[700];
	size_t n;
	int status;

	while ((status = SSL_read_early_data(d->server.ssl, buffer, sizeof(buffer), &n)) ==
	       SSL_READ_EARLY_DATA_SUCCESS)
		note_received(&d->server, buffer, n);
	if (status != SSL_READ_EARLY_DATA_FINISH)
		die("SSL_read_early_data");
	end_handshake(&d->server);
	if (d->count && SSL_get_early_data_status(d->server.ssl) != SSL_EARLY_DATA_ACCEPTED)
		die("early data were not accepted");
	read_all(&d->server, 1000, 300);
	write_message(&d->server, "reply", d->count, 3000);
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void early_data(void)
{
	SSL_CTX *client_ctx = new_client_ctx(), *server_ctx = new_server_ctx();
	struct duo first = { .client_ctx = client_ctx, .server_ctx = server_ctx, .count = 0 };
	struct duo second = { .client_ctx = client_ctx, .server_ctx = server_ctx, .count = 1 };
	unsigned char early[2500];
	SSL_SESSION *session;
	size_t n;

	SSL_CTX_set_max_early_data(server_ctx, 16384);
	SSL_CTX_set_options(server_ctx, SSL_OP_NO_ANTI_REPLAY);
	duo_start(&first, "127.0.0.1", serve_early_data);
	end_handshake(&first.client);
	write_message(&first.client, "request", 0, 1000);
	read_all(&first.client, 3000, 4096);
	session = SSL_get1_session(first.client.ssl);
	end_close(&first.client);
	duo_join(&first);

	duo_start(&second, "127.0.0.1", serve_early_data);
	SSL_set_session(second.client.ssl, session);
	fill(early, sizeof(early), "early", 1);
	if (SSL_write_early_data(second.client.ssl, early, sizeof(early), &n) != 1)
		die("SSL_write_early_data");
	note_sent(&second.client, early, n);
	end_handshake(&second.client);
	write_message(&second.client, "request", 1, 1000);
	read_all(&second.client, 3000, 4096);
	end_close(&second.client);
	duo_join(&second);
}

static void key_update(void)
{
	struct duo d = { .count = 1 };

	duo_start(&d, "127.0.0.1", serve_exchange);
	end_handshake(&d.client);
	write_message(&d.client, "before", 1, 500);
	if (SSL_key_update(d.client.ssl, SSL_KEY_UPDATE_REQUESTED) != 1)
		die("SSL_key_update");
	write_message(&d.client, "after", 2, 500);
	read_all(&d.client, 3000, 100);
	end_close(&d.client);
	duo_join(&d);
}

static void renegotiate(void)
{
	struct duo d = { .count = 1, .client_ctx = new_client_ctx(), .server_ctx = new_server_ctx() };

	SSL_CTX_set_max_proto_version(d.client_ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(d.server_ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
	duo_start(&d, "127.0.0.1", serve_exchange);
	end_handshake(&d.client);
	write_message(&d.client, "before", 1, 500);
	if (SSL_renegotiate(d.client.ssl) != 1 || SSL_do_handshake(d.client.ssl) != 1)
		die("renegotiation");
	write_message(&d.client, "after", 2, 500);
	read_all(&d.client, 3000, 100);
	end_close(&d.client);
	duo_join(&d);
}

/* ---- the life of an SSL object ---- */

static void reuse(void)
{
	for (uint64_t i = 0; i < 50; i++)
		exchange("127.0.0.1", i);
}

/* One SSL object for several connections in turn. */
static void ssl_clear(void)
{
	struct duo d = { .client_ctx = new_client_ctx(), .server_ctx = new_server_ctx() };
	SSL *kept = SSL_new(d.client_ctx);

	for (uint64_t i = 0; i < 5; i++) {
		SSL *unused;

		d.count = i;
		duo_start(&d, "127.0.0.1", serve_exchange);
		unused = d.client.ssl;
		if (SSL_clear(kept) != 1 || SSL_set_fd(kept, d.client.fd) != 1)
			die("SSL_clear");
		d.client.ssl = kept;
		end_handshake(&d.client);
		write_message(&d.client, "request", i, 1000);
		read_all(&d.client, 3000, 4096);
		SSL_shutdown(kept);
		SSL_up_ref(kept);
		end_abandon(&d.client);
		SSL_free(unused);
		duo_join(&d);
	}
	SSL_free(kept);
}

static void peek(void)
{
	struct duo d = { .count = 1 };
	char buffer[1234];

	duo_start(&d, "127.0.0.1", serve_exchange);
	end_handshake(&d.client);
	write_message(&d.client, "request", 1, 1000);
	if (SSL_peek(d.client.ssl, buffer, sizeof(buffer)) != sizeof(buffer))
		die("SSL_peek");
	if (SSL_peek(d.client.ssl, buffer, 100) != 100)
		die("second SSL_peek");
	read_all(&d.client, 3000, 700);
	end_close(&d.client);
	duo_join(&d);
}

/* SSL_free takes away one reference; the object lives on. */
static void up_ref(void)
{
	struct duo d = { .count = 1 };

	duo_start(&d, "127.0.0.1", serve_exchange);
	end_handshake(&d.client);
	write_message(&d.client, "first", 1, 400);
	SSL_up_ref(d.client.ssl);
	SSL_free(d.client.ssl);
	write_message(&d.client, "second", 2, 600);
	read_all(&d.client, 3000, 4096);
	end_close(&d.client);
	duo_join(&d);
}

/* ---- */

static void plain_exchange(void)
{
	exchange("127.0.0.1", 1);
}

static void over_ipv6(void)
{
	exchange("::1", 1);
}

static void partial(void)
{
	nonblocking_writer(SSL_MODE_ENABLE_PARTIAL_WRITE);
}

static void want_write(void)
{
	nonblocking_writer(0);
}

/* By descriptor, by BIO and by hand: their messages differ in size. */
static void announced_and_not(void)
{
	plain_exchange();
	socket_bio();
	fed_by_hand();
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "exchange", plain_exchange },
	{ "ipv6", over_ipv6 },
	{ "big-write", big_write },
	{ "ex", ex },
	{ "partial", partial },
	{ "want-write", want_write },
	{ "want-read", want_read },
	{ "handshake-in-read", handshake_in_read },
	{ "early-data", early_data },
	{ "key-update", key_update },
	{ "renegotiate", renegotiate },
	{ "two-threads", two_threads },
	{ "fork", fork_client },
	{ "prefork", prefork },
	{ "reuse", reuse },
	{ "clear", ssl_clear },
	{ "peek", peek },
	{ "up-ref", up_ref },
	{ "sendfile", sendfile_ktls },
	{ "memory-bio", memory_bio },
	{ "tls-in-tls", tls_in_tls },
	{ "socket-bio", socket_bio },
	{ "fed-by-hand", fed_by_hand },
	{ "announced-and-not", announced_and_not },
	{ "die-in-read", die_in_read },
	{ "die-in-write", die_in_write },
	{ "untouched", untouched },
};

static uint64_t number(char **argv, int index)
{
	if (!argv[index])
		die("a number is missing");
	return strtoull(argv[index], NULL, 10);
}

static bool run_with_numbers(const char *name, char **argv)
{
	if (!strcmp(name, "bench-bio"))
		bench_bio(number(argv, 2), number(argv, 3));
	else if (!strcmp(name, "flood"))
		flood(number(argv, 2), number(argv, 3));
	else if (!strcmp(name, "rush"))
		rush(number(argv, 2), number(argv, 3));
	else if (!strcmp(name, "pace"))
		pace(number(argv, 2), number(argv, 3), number(argv, 4));
	else if (!strcmp(name, "many"))
		many(number(argv, 2));
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	alarm(60);
	signal(SIGPIPE, SIG_IGN);
	if (!strcmp(name, "exit-code")) {
		plain_exchange();
		return number(argv, 2);
	}
	if (!strcmp(name, "kill-self")) {
		plain_exchange();
		kill(getpid(), number(argv, 2));
		pause();
	}
	if (!strcmp(name, "exec-in-read"))
		exec_in_read(argv);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (!strcmp(name, cases[i].name)) {
			cases[i].run();
			return 0;
		}
	}
	if (!run_with_numbers(name, argv))
		die("no such case: %s; usage: tls_cases CASE [NUMBER]...", name);
	return 0;
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The ways in which programs use a TLS library, one sub-command each, over loopback. Each case
 * prints the truth: a JSON line for every end of a connection with its role, addresses, byte
 * counts and the sha256 of each direction. The live tests record it and compare.
 *
 * Build: gcc -O2 -g -o tls_cases tls_cases.c nested.c peer.c -lssl -lcrypto -pthread
 */
#define _GNU_SOURCE
#include "nested.h"
#include "peer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- a plain exchange: a message there, a message back ---- */

static void serve_exchange(struct duo *d)
{
	end_handshake(&d->server);
	read_all(&d->server, 1000, 300);
	write_message(&d->server, "reply", d->count, 3000);
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

static void exchange(const char *host, uint64_t number)
{
	struct duo d = { .count = number };

	duo_start(&d, host, serve_exchange);
	end_handshake(&d.client);
	write_message(&d.client, "request", number, 1000);
	read_all(&d.client, 3000, 4096);
	end_close(&d.client);
	duo_join(&d);
}

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

/* ---- threads and processes ---- */

struct shared {
	struct end *end;
	pthread_mutex_t lock;
	size_t to_read;
	int thread;
};

enum { SHARED_MESSAGES = 100, SHARED_LEN = 700 };

static void serve_echo(struct duo *d)
{
	char buffer[999];
	int n;

	end_handshake(&d->server);
	while ((n = SSL_read(d->server.ssl, buffer, sizeof(buffer))) > 0) {
		note_received(&d->server, buffer, n);
		write_all(&d->server, buffer, n);
	}
	end_close(&d->server);
}

/* Writes its messages, and reads whatever is there, in turn with the other thread. */
static void *share_end(void *argument)
{
	struct shared *s = argument;
	char buffer[500];
	bool more = true;

	pthread_mutex_lock(&s->lock);
	int thread = s->thread++;
	pthread_mutex_unlock(&s->lock);
	for (int i = 0; more; i++) {
		int n, error = SSL_ERROR_NONE;

		pthread_mutex_lock(&s->lock);
		if (i < SHARED_MESSAGES)
			write_message(s->end, thread ? "thread-1" : "thread-0", i, SHARED_LEN);
		n = s->to_read ? SSL_read(s->end->ssl, buffer, sizeof(buffer)) : 0;
		if (n > 0) {
			note_received(s->end, buffer, n);
			s->to_read -= n;
		} else if (s->to_read) {
			error = SSL_get_error(s->end->ssl, n);
		}
		more = s->to_read > 0 || i + 1 < SHARED_MESSAGES;
		pthread_mutex_unlock(&s->lock);
		if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ)
			die("shared read: SSL error %d", error);
		if (error == SSL_ERROR_WANT_READ)
			usleep(200);
	}
	return NULL;
}

static void two_threads(void)
{
	struct duo d = { 0 };
	struct shared s = { .end = &d.client, .to_read = 2 * SHARED_MESSAGES * SHARED_LEN };
	pthread_t threads[2];

	pthread_mutex_init(&s.lock, NULL);
	duo_start(&d, "127.0.0.1", serve_echo);
	end_handshake(&d.client);
	set_blocking(d.client.fd, false); /* 140 kB fit into the socket's buffers: no WANT_WRITE */
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, share_end, &s);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	set_blocking(d.client.fd, true);
	end_close(&d.client);
	duo_join(&d);
}

static void wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("child: status %d", status);
}

/* The handshake and one message in the parent, the rest in the child. */
static void fork_client(void)
{
	struct duo d = { 0 };
	pid_t pid;

	duo_start(&d, "127.0.0.1", serve_echo);
	d.client.name = "parent";
	end_handshake(&d.client);
	write_message(&d.client, "parent", 1, 800);
	read_all(&d.client, 800, 800);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		d.client.name = "child";
		end_reset_truth(&d.client);
		write_message(&d.client, "child", 1, 900);
		read_all(&d.client, 900, 100);
		end_close(&d.client);
		_exit(0);
	}
	wait_child(pid);
	end_abandon(&d.client);
	duo_join(&d);
}

/* Workers that inherit the listening socket and the context. */
static void prefork(void)
{
	enum { WORKERS = 3 };
	struct duo d = { .server_ctx = new_server_ctx(), .client_ctx = new_client_ctx() };
	pid_t pids[WORKERS];

	d.listener = listen_on("127.0.0.1");
	for (int i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			alarm(60);
			d.count = i;
			end_open(&d.server, d.server_ctx, accept_from(d.listener), true, "worker");
			serve_exchange(&d);
			_exit(0);
		}
	}
	for (int i = 0; i < WORKERS; i++) {
		end_open(&d.client, d.client_ctx, connect_to(d.listener), false, "client");
		end_handshake(&d.client);
		write_message(&d.client, "request", i, 1000);
		read_all(&d.client, 3000, 4096);
		end_close(&d.client);
	}
	for (int i = 0; i < WORKERS; i++)
		wait_child(pids[i]);
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

/* ---- volume ---- */

static void serve_flood(struct duo *d)
{
	end_handshake(&d->server);
	read_to_end(&d->server, 65536);
	end_close(&d->server);
}

/* Each 8 bytes hold their own place in the stream, so that a hole can be measured. */
static void flood(uint64_t count, uint64_t size)
{
	struct duo d = { 0 };
	uint64_t *words = malloc(size);
	uint64_t place = 0;

	if (size % 8)
		die("SIZE must be a multiple of 8");
	duo_start(&d, "127.0.0.1", serve_flood);
	end_handshake(&d.client);
	for (uint64_t i = 0; i < count; i++) {
		for (uint64_t j = 0; j < size / 8; j++, place += 8)
			words[j] = place;
		write_all(&d.client, words, size);
	}
	end_close(&d.client);
	duo_join(&d);
	free(words);
}

/* Messages that begin with the time at which they were sent, decimal nanoseconds, 20 digits. */
static void pace(uint64_t seconds, uint64_t interval_us, uint64_t size)
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

static void many(uint64_t count)
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
static void sendfile_ktls(void)
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

/* ---- */

static uint64_t number(char **argv, int index)
{
	if (!argv[index])
		die("a number is missing");
	return strtoull(argv[index], NULL, 10);
}

static void run(char **argv)
{
	const char *name = argv[1];

	if (!strcmp(name, "exchange"))
		exchange("127.0.0.1", 1);
	else if (!strcmp(name, "ipv6"))
		exchange("::1", 1);
	else if (!strcmp(name, "big-write"))
		big_write();
	else if (!strcmp(name, "ex"))
		ex();
	else if (!strcmp(name, "partial"))
		nonblocking_writer(SSL_MODE_ENABLE_PARTIAL_WRITE);
	else if (!strcmp(name, "want-write"))
		nonblocking_writer(0);
	else if (!strcmp(name, "want-read"))
		want_read();
	else if (!strcmp(name, "handshake-in-read"))
		handshake_in_read();
	else if (!strcmp(name, "early-data"))
		early_data();
	else if (!strcmp(name, "key-update"))
		key_update();
	else if (!strcmp(name, "renegotiate"))
		renegotiate();
	else if (!strcmp(name, "two-threads"))
		two_threads();
	else if (!strcmp(name, "fork"))
		fork_client();
	else if (!strcmp(name, "prefork"))
		prefork();
	else if (!strcmp(name, "reuse"))
		reuse();
	else if (!strcmp(name, "clear"))
		ssl_clear();
	else if (!strcmp(name, "peek"))
		peek();
	else if (!strcmp(name, "up-ref"))
		up_ref();
	else if (!strcmp(name, "sendfile"))
		sendfile_ktls();
	else if (!strcmp(name, "memory-bio"))
		memory_bio();
	else if (!strcmp(name, "tls-in-tls"))
		tls_in_tls();
	else if (!strcmp(name, "bench-bio"))
		bench_bio(number(argv, 2), number(argv, 3));
	else if (!strcmp(name, "flood"))
		flood(number(argv, 2), number(argv, 3));
	else if (!strcmp(name, "pace"))
		pace(number(argv, 2), number(argv, 3), number(argv, 4));
	else if (!strcmp(name, "many"))
		many(number(argv, 2));
	else
		die("no such case: %s", name);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		die("usage: tls_cases CASE [NUMBER]...");
	alarm(60);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(argv[1], "exit-code")) {
		exchange("127.0.0.1", 1);
		return number(argv, 2);
	}
	if (!strcmp(argv[1], "kill-self")) {
		exchange("127.0.0.1", 1);
		kill(getpid(), number(argv, 2));
		pause();
	}
	run(argv);
	return 0;
}

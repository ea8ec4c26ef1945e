/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * gnutls_cases CASE: ways of sending and receiving that GnuTLS has and OpenSSL has not, client and
 * server in one process, and the truth about each end of each connection as peer.h says it.
 */
#include "peer.h"
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EARLY_DATA_MAX 16384

/* One connection. The truth of an end is in `end`, which has no SSL. */
struct side {
	struct end end;
	gnutls_session_t session;
};

struct pair {
	struct side client, server;
	int listener;
	pthread_t thread;
};

static gnutls_certificate_credentials_t client_credentials, server_credentials;
static gnutls_anti_replay_t anti_replay;
static gnutls_datum_t ticket_key, resumption;
static bool with_early_data;

#define CHECK(call) check(call, #call)

static ssize_t check(ssize_t result, const char *what)
{
	if (result < 0)
		die("%s: %s", what, gnutls_strerror(result));
	return result;
}

static void make_credentials(void)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	unsigned char serial = 1;

	CHECK(gnutls_x509_privkey_init(&key));
	CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_EC,
					   GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	CHECK(gnutls_x509_crt_init(&crt));
	CHECK(gnutls_x509_crt_set_version(crt, 3));
	CHECK(gnutls_x509_crt_set_serial(crt, &serial, 1));
	CHECK(gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60));
	CHECK(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600));
	CHECK(gnutls_x509_crt_set_dn(crt, "CN=localhost", NULL));
	CHECK(gnutls_x509_crt_set_key(crt, key));
	CHECK(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0));
	CHECK(gnutls_certificate_allocate_credentials(&client_credentials));
	CHECK(gnutls_certificate_allocate_credentials(&server_credentials));
	CHECK(gnutls_certificate_set_x509_key(server_credentials, &crt, 1, key));
	CHECK(gnutls_session_ticket_key_generate(&ticket_key));
	CHECK(gnutls_anti_replay_init(&anti_replay));
}

static int remember(void *data, time_t expiry, const gnutls_datum_t *key, const gnutls_datum_t *entry)
{
	/* Whether a hello was replayed is not at stake here. */
	(void)data, (void)expiry, (void)key, (void)entry;
	return 0;
}

static void open_side(struct side *side, int fd, bool server)
{
	unsigned early = with_early_data ? GNUTLS_ENABLE_EARLY_DATA : 0;
	gnutls_session_t session;

	memset(side, 0, sizeof(*side));
	side->end.fd = fd;
	side->end.server = server;
	side->end.name = server ? "server" : "client";
	end_reset_truth(&side->end);
	end_addresses(&side->end);
	CHECK(gnutls_init(&session, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | early));
	CHECK(gnutls_set_default_priority(session));
	CHECK(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
				     server ? server_credentials : client_credentials));
	gnutls_transport_set_int(session, fd);
	side->session = session;
	if (!server || !with_early_data)
		return;
	CHECK(gnutls_session_ticket_enable_server(session, &ticket_key));
	gnutls_anti_replay_set_add_function(anti_replay, remember);
	gnutls_anti_replay_enable(session, anti_replay);
	CHECK(gnutls_record_set_max_early_data_size(session, EARLY_DATA_MAX));
}

static void handshake(struct side *side)
{
	int result;

	do {
		result = gnutls_handshake(side->session);
	} while (result < 0 && !gnutls_error_is_fatal(result));
	CHECK(result);
}

static void send_message(struct side *side, uint64_t number, size_t len)
{
	unsigned char *data = malloc(len);
	size_t done = 0;

	fill(data, len, side->end.name, number);
	while (done < len)
		done += CHECK(gnutls_record_send(side->session, data + done, len - done));
	note_sent(&side->end, data, len);
	free(data);
}

static void receive(struct side *side, size_t len)
{
	unsigned char data[5000];

	while (len > 0) {
		ssize_t n = gnutls_record_recv(side->session, data,
					       len < sizeof(data) ? len : sizeof(data));

		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
			continue;
		if (CHECK(n) == 0)
			die("%s: %zu bytes are missing", side->end.name, len);
		note_received(&side->end, data, n);
		len -= n;
	}
}

static void close_side(struct side *side)
{
	unsigned char data[5000];
	ssize_t n;

	gnutls_bye(side->session, GNUTLS_SHUT_WR);
	while ((n = gnutls_record_recv(side->session, data, sizeof(data))) > 0)
		note_received(&side->end, data, n);
	end_truth(&side->end);
	gnutls_deinit(side->session);
	close(side->end.fd);
}

static void *serve(void *argument);

/* Both ends of a new connection, with the server on a thread of its own, which runs `serve`. */
static void start(struct pair *pair)
{
	pair->listener = listen_on("127.0.0.1");
	if (pthread_create(&pair->thread, NULL, serve, pair))
		die("pthread_create");
	open_side(&pair->client, connect_to(pair->listener), false);
}

static void join(struct pair *pair)
{
	pthread_join(pair->thread, NULL);
	close(pair->listener);
}

/* Each case has a client and a server. */
struct way {
	const char *name;
	void (*client)(struct side *client);
	void (*server)(struct side *server);
};

static const struct way *way;

static void *serve(void *argument)
{
	struct pair *pair = argument;

	open_side(&pair->server, accept_from(pair->listener), true);
	way->server(&pair->server);
	close_side(&pair->server);
	return NULL;
}

static void run(void)
{
	struct pair pair;

	start(&pair);
	way->client(&pair.client);
	close_side(&pair.client);
	join(&pair);
}

/* ---- cork: what is sent while a session is corked goes with the uncorking ---- */

static void cork_client(struct side *side)
{
	handshake(side);
	gnutls_record_cork(side->session);
	for (int i = 0; i < 7; i++)
		send_message(side, i, 4000);
	CHECK(gnutls_record_uncork(side->session, GNUTLS_RECORD_WAIT));
	send_message(side, 7, 1000);
	gnutls_record_cork(side->session);
	send_message(side, 8, 1);
	CHECK(gnutls_record_uncork(side->session, GNUTLS_RECORD_WAIT));
	receive(side, 3000);
}

static void cork_server(struct side *side)
{
	handshake(side);
	receive(side, 7 * 4000 + 1000 + 1);
	send_message(side, 9, 3000);
}

/* ---- range: messages whose length is hidden ---- */

static void send_hidden(struct side *side, uint64_t number, size_t len, size_t most)
{
	gnutls_range_st range = { .low = len, .high = most };
	unsigned char data[20000];

	if (!gnutls_record_can_use_length_hiding(side->session))
		die("no length can be hidden");
	fill(data, len, side->end.name, number);
	if ((size_t)CHECK(gnutls_record_send_range(side->session, data, len, &range)) != len)
		die("less was sent");
	note_sent(&side->end, data, len);
}

static void range_client(struct side *side)
{
	handshake(side);
	send_hidden(side, 0, 1, 500);
	send_hidden(side, 1, 1000, 16000);
	send_hidden(side, 2, 20000, 40000);
	receive(side, 3000);
}

static void range_server(struct side *side)
{
	handshake(side);
	receive(side, 1 + 1000 + 20000);
	send_hidden(side, 3, 3000, 3001);
}

/* ---- packet: what was received is handed over without a copy ---- */

static void receive_packets(struct side *side, size_t len)
{
	while (len > 0) {
		gnutls_packet_t packet;
		gnutls_datum_t data;
		ssize_t n = gnutls_record_recv_packet(side->session, &packet);

		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
			continue;
		if (CHECK(n) == 0)
			die("%s: %zu bytes are missing", side->end.name, len);
		gnutls_packet_get(packet, &data, NULL);
		note_received(&side->end, data.data, data.size);
		len -= data.size;
		gnutls_packet_deinit(packet);
	}
}

/* The first packet of the server's is what a read has left over. */
static void packet_client(struct side *side)
{
	handshake(side);
	send_message(side, 0, 70000);
	receive(side, 100);
	receive_packets(side, 2900 + 16384);
	receive(side, 5);
}

static void packet_server(struct side *side)
{
	handshake(side);
	receive_packets(side, 70000);
	send_message(side, 1, 3000);
	send_message(side, 2, 16384);
	send_message(side, 3, 5);
}

/* ---- early: data before the handshake's end, once there is a ticket ---- */

static void early_client(struct side *side)
{
	unsigned char data[3000];

	if (resumption.size) {
		CHECK(gnutls_session_set_data(side->session, resumption.data, resumption.size));
		fill(data, sizeof(data), "early", 1);
		CHECK(gnutls_record_send_early_data(side->session, data, 1000));
		CHECK(gnutls_record_send_early_data(side->session, data + 1000, 2000));
		note_sent(&side->end, data, sizeof(data));
	}
	handshake(side);
	send_message(side, 2, 1000);
	receive(side, 3000);
	if (resumption.size && !(gnutls_session_get_flags(side->session) & GNUTLS_SFLAGS_EARLY_DATA))
		die("early data was not taken");
	if (!resumption.size)
		CHECK(gnutls_session_get_data2(side->session, &resumption));
}

static void early_server(struct side *side)
{
	unsigned char data[700];
	ssize_t n;

	handshake(side);
	while ((n = gnutls_record_recv_early_data(side->session, data, sizeof(data))) > 0)
		note_received(&side->end, data, n);
	receive(side, 1000);
	send_message(side, 3, 3000);
}

/* ---- file: a part of a file, which nobody has read ---- */

#define FILE_LEN 100001

static void file_client(struct side *side)
{
	static unsigned char data[FILE_LEN];
	FILE *file = tmpfile();
	off_t offset = 1000;

	fill(data, sizeof(data), "file", 0);
	if (!file || fwrite(data, 1, sizeof(data), file) != sizeof(data) || fflush(file))
		die("cannot write a file");
	/* In 3.7 the offset counts from where the file is. */
	rewind(file);
	handshake(side);
	send_message(side, 0, 10);
	if (CHECK(gnutls_record_send_file(side->session, fileno(file), &offset, FILE_LEN - 1000)) !=
	    FILE_LEN - 1000)
		die("less was sent");
	note_sent(&side->end, data + 1000, FILE_LEN - 1000);
	fclose(file);
	receive(side, 3000);
}

static void file_server(struct side *side)
{
	handshake(side);
	receive(side, 10 + FILE_LEN - 1000);
	send_message(side, 1, 3000);
}

static const struct way ways[] = {
	{ "cork", cork_client, cork_server },
	{ "range", range_client, range_server },
	{ "packet", packet_client, packet_server },
	{ "early", early_client, early_server },
	{ "file", file_client, file_server },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (argc == 2 && strcmp(argv[1], ways[i].name) == 0)
			way = &ways[i];
	}
	if (!way)
		die("usage: gnutls_cases cork|range|packet|early|file");
	with_early_data = strcmp(way->name, "early") == 0;
	make_credentials();
	run();
	if (with_early_data)
		run();
	return 0;
}

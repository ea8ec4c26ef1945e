/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * nss_cases CASE FOLDER: ways of sending and receiving that NSPR has for descriptors of TLS, client
 * and server in one process, and the truth about both ends as peer.h says it. In the folder are
 * the databases of NSS, with a certificate called localhost; a file to be sent is put there.
 */
#include "peer.h"
#include <nspr.h>
#include <nss.h>
#include <pk11pub.h>
#include <private/pprio.h>
#include <ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than NSPR maps of a file at a time. */
#define FILE_LEN 300001

/* The truth of an end is in `end`, which has no SSL. */
struct side {
	struct end end;
	PRFileDesc *fd;
};

static PRFileDesc *listener;
static PRUint16 port;
static char file_name[4096];
static unsigned char file_data[FILE_LEN];

#define CHECK(good) check(good, #good)

static void check(bool good, const char *what)
{
	if (!good)
		die("%s: error %d of NSPR", what, PR_GetError());
}

static SECStatus trust(void *arg, PRFileDesc *fd, PRBool check_signature, PRBool is_server)
{
	/* Who it is does not matter here. */
	(void)arg, (void)fd, (void)check_signature, (void)is_server;
	return SECSuccess;
}

static void begin_truth(struct side *side, PRFileDesc *fd, bool server)
{
	memset(side, 0, sizeof(*side));
	side->fd = fd;
	side->end.fd = PR_FileDesc2NativeHandle(fd);
	side->end.server = server;
	side->end.name = server ? "server" : "client";
	end_reset_truth(&side->end);
	end_addresses(&side->end);
}

static void listen_as_server(void)
{
	CERTCertificate *cert = PK11_FindCertFromNickname("localhost", NULL);
	SECKEYPrivateKey *key = cert ? PK11_FindKeyByAnyCert(cert, NULL) : NULL;
	PRNetAddr address;

	CHECK(cert && key);
	listener = SSL_ImportFD(NULL, PR_NewTCPSocket());
	CHECK(listener);
	CHECK(SSL_ConfigServerCert(listener, cert, key, NULL, 0) == SECSuccess);
	CHECK(PR_InitializeNetAddr(PR_IpAddrLoopback, 0, &address) == PR_SUCCESS);
	CHECK(PR_Bind(listener, &address) == PR_SUCCESS && PR_Listen(listener, 5) == PR_SUCCESS);
	CHECK(PR_GetSockName(listener, &address) == PR_SUCCESS);
	port = PR_ntohs(PR_NetAddrInetPort(&address));
	SECKEY_DestroyPrivateKey(key);
	CERT_DestroyCertificate(cert);
}

static void connect_as_client(struct side *side)
{
	PRFileDesc *fd = SSL_ImportFD(NULL, PR_NewTCPSocket());
	PRNetAddr address;

	CHECK(fd && SSL_AuthCertificateHook(fd, trust, NULL) == SECSuccess);
	CHECK(SSL_SetURL(fd, "localhost") == SECSuccess);
	CHECK(PR_InitializeNetAddr(PR_IpAddrLoopback, port, &address) == PR_SUCCESS);
	CHECK(PR_Connect(fd, &address, PR_INTERVAL_NO_TIMEOUT) == PR_SUCCESS);
	begin_truth(side, fd, false);
	CHECK(SSL_ForceHandshake(fd) == SECSuccess);
}

static void accept_as_server(struct side *side)
{
	PRFileDesc *fd = PR_Accept(listener, NULL, PR_INTERVAL_NO_TIMEOUT);

	CHECK(fd);
	begin_truth(side, fd, true);
}

static void receive(struct side *side, size_t len)
{
	unsigned char data[7000];

	while (len > 0) {
		PRInt32 n = PR_Read(side->fd, data, len < sizeof(data) ? len : sizeof(data));

		CHECK(n > 0);
		note_received(&side->end, data, n);
		len -= n;
	}
}

static void send_message(struct side *side, uint64_t number, size_t len)
{
	static unsigned char data[100000];

	fill(data, len, side->end.name, number);
	CHECK(PR_Write(side->fd, data, len) == (PRInt32)len);
	note_sent(&side->end, data, len);
}

static void close_side(struct side *side)
{
	char byte;

	PR_Shutdown(side->fd, PR_SHUTDOWN_SEND);
	CHECK(PR_Read(side->fd, &byte, 1) == 0);
	end_truth(&side->end);
	PR_Close(side->fd);
}

/* ---- writev: several buffers at once ---- */

static void writev_client(struct side *side)
{
	static const size_t lens[] = { 1, 5000, 0, 40000, 300 };
	static unsigned char data[50000];
	PRIOVec parts[5];
	size_t at = 0;

	fill(data, sizeof(data), "parts", 0);
	for (int i = 0; i < 5; i++) {
		/* Not one behind the other. */
		parts[i].iov_base = (char *)data + at + i;
		parts[i].iov_len = lens[i];
		note_sent(&side->end, parts[i].iov_base, lens[i]);
		at += lens[i];
	}
	CHECK(PR_Writev(side->fd, parts, 5, PR_INTERVAL_NO_TIMEOUT) == (PRInt32)at);
	receive(side, 3000);
}

static void writev_server(struct side *side)
{
	accept_as_server(side);
	receive(side, 45301);
	send_message(side, 1, 3000);
}

/* ---- transmit-file: a header and a file ---- */

static void file_client(struct side *side)
{
	send_message(side, 0, 100);
	receive(side, 50 + FILE_LEN);
}

static void transmit_server(struct side *side)
{
	PRFileDesc *file = PR_Open(file_name, PR_RDONLY, 0);
	unsigned char head[50];

	accept_as_server(side);
	receive(side, 100);
	fill(head, sizeof(head), "head", 1);
	CHECK(file && PR_TransmitFile(side->fd, file, head, sizeof(head), PR_TRANSMITFILE_KEEP_OPEN,
				      PR_INTERVAL_NO_TIMEOUT) == sizeof(head) + FILE_LEN);
	note_sent(&side->end, head, sizeof(head));
	note_sent(&side->end, file_data, FILE_LEN);
	PR_Close(file);
}

/* ---- send-file: a header, a part of a file and a trailer ---- */

static void send_file_client(struct side *side)
{
	send_message(side, 0, 100);
	receive(side, 50 + FILE_LEN - 1000 + 20);
}

static void send_file_server(struct side *side)
{
	unsigned char head[50], tail[20];
	PRSendFileData data = {
		.fd = PR_Open(file_name, PR_RDONLY, 0),
		.file_offset = 1000,
		.header = head,
		.hlen = sizeof(head),
		.trailer = tail,
		.tlen = sizeof(tail),
	};

	accept_as_server(side);
	receive(side, 100);
	fill(head, sizeof(head), "head", 1);
	fill(tail, sizeof(tail), "tail", 2);
	CHECK(data.fd && PR_SendFile(side->fd, &data, PR_TRANSMITFILE_KEEP_OPEN,
				     PR_INTERVAL_NO_TIMEOUT) == 50 + FILE_LEN - 1000 + 20);
	note_sent(&side->end, head, sizeof(head));
	note_sent(&side->end, file_data + 1000, FILE_LEN - 1000);
	note_sent(&side->end, tail, sizeof(tail));
	PR_Close(data.fd);
}

/* ---- accept-read: a connection together with what comes first ---- */

static void accept_client(struct side *side)
{
	send_message(side, 0, 900);
	send_message(side, 1, 20000);
	receive(side, 3000);
}

static void accept_server(struct side *side)
{
	static char buffer[1000 + 2 * sizeof(PRNetAddr)];
	PRNetAddr *address;
	PRFileDesc *fd;
	PRInt32 n = PR_AcceptRead(listener, &fd, &address, buffer, 1000, PR_INTERVAL_NO_TIMEOUT);

	CHECK(n > 0);
	begin_truth(side, fd, true);
	note_received(&side->end, buffer, n);
	receive(side, 20900 - n);
	send_message(side, 2, 3000);
}

static const struct way {
	const char *name;
	void (*client)(struct side *client);
	void (*server)(struct side *server);
} ways[] = {
	{ "writev", writev_client, writev_server },
	{ "transmit-file", file_client, transmit_server },
	{ "send-file", send_file_client, send_file_server },
	{ "accept-read", accept_client, accept_server },
};

static const struct way *way;

static void *serve(void *argument)
{
	struct side server;

	(void)argument;
	way->server(&server);
	close_side(&server);
	return NULL;
}

static void make_file(const char *folder)
{
	FILE *file;

	snprintf(file_name, sizeof(file_name), "%s/sent", folder);
	fill(file_data, FILE_LEN, "file", 0);
	file = fopen(file_name, "wb");
	if (!file || fwrite(file_data, 1, FILE_LEN, file) != FILE_LEN || fclose(file))
		die("cannot write %s", file_name);
}

int main(int argc, char **argv)
{
	struct side client;
	pthread_t thread;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (argc == 3 && strcmp(argv[1], ways[i].name) == 0)
			way = &ways[i];
	}
	if (!way)
		die("usage: nss_cases writev|transmit-file|send-file|accept-read FOLDER");
	make_file(argv[2]);
	CHECK(NSS_Init(argv[2]) == SECSuccess);
	CHECK(SSL_ConfigServerSessionIDCache(0, 0, 0, NULL) == SECSuccess);
	listen_as_server();
	if (pthread_create(&thread, NULL, serve, NULL))
		die("pthread_create");
	connect_as_client(&client);
	way->client(&client);
	close_side(&client);
	pthread_join(thread, NULL);
	PR_Close(listener);
	return 0;
}

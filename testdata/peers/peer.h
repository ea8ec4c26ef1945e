/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the cases in tls_cases.c share: contexts, loopback sockets, patterned messages, and the
 * truth, one JSON line for each end of a TLS connection, which the live tests compare with what
 * was recorded. Nothing here knows about recording.
 */
#ifndef PEER_H
#define PEER_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* One end of a TLS connection and what the program knows about it. */
struct end {
	SSL *ssl;
	int fd; /* -1 without a socket */
	bool server;
	const char *name; /* distinguishes levels and processes in the truth */
	char local[64], remote[64];
	uint64_t sent, received;
	EVP_MD_CTX *sent_hash, *received_hash;
};

/* Both ends of a loopback connection: the client here, the server on a thread of its own. */
struct duo {
	SSL_CTX *client_ctx, *server_ctx;
	struct end client, server;
	int listener;
	/* How each end is opened; end_open() unless the case says otherwise. */
	void (*open)(struct end *, SSL_CTX *, int fd, bool server, const char *name);
	void (*serve)(struct duo *);
	uint64_t count, size; /* the case's own parameters */
	pthread_t thread;
};

/* Ends the process with a message and the TLS library's errors. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

SSL_CTX *new_client_ctx(void);
SSL_CTX *new_server_ctx(void); /* with a self-signed certificate of its own */

int listen_on(const char *host); /* "127.0.0.1" or "::1", a free port */
int connect_to(int listener);
int accept_from(int listener);
void set_blocking(int fd, bool blocking);
void wait_for(int fd, int ssl_error); /* until SSL_ERROR_WANT_READ/WRITE can go on */

/* `fd` may be -1: then no BIO is set and the addresses are unknown. */
void end_open(struct end *e, SSL_CTX *ctx, int fd, bool server, const char *name);
void end_reset_truth(struct end *e); /* counts from 0: a new connection, or a new process */
void end_addresses(struct end *e);   /* of `fd`, again */
void end_handshake(struct end *e);
void end_close(struct end *e);       /* close_notify both ways, truth, SSL_free, close */
void end_abandon(struct end *e);     /* truth, SSL_free, close */
void end_truth(struct end *e);       /* prints the line */

void note_sent(struct end *e, const void *data, size_t len);
void note_received(struct end *e, const void *data, size_t len);

/* Blocking: one SSL_write of the whole; SSL_read calls of at most `chunk` until `len` came. */
void write_all(struct end *e, const void *data, size_t len);
void read_all(struct end *e, size_t len, size_t chunk);
uint64_t read_to_end(struct end *e, size_t chunk);

/* Bytes that tell which message they belong to and where in it they stand. */
void fill(void *data, size_t len, const char *tag, uint64_t number);
void write_message(struct end *e, const char *tag, uint64_t number, size_t len);

/* Opens a listener, starts `serve` on a thread with `server` accepted and not yet shaken hands;
 * `client` is connected, not yet shaken hands. */
void duo_start(struct duo *d, const char *host, void (*serve)(struct duo *));
void duo_join(struct duo *d);

/* The plain exchange: a message of 1000 bytes there, one of 3000 back. */
void serve_exchange(struct duo *d);
void exchange(const char *host, uint64_t number);

#endif

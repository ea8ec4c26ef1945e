/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fprintf(stderr, " (errno %d: %s)\n", errno, strerror(errno));
	va_end(args);
	ERR_print_errors_fp(stderr);
	exit(99);
}

SSL_CTX *new_client_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		die("SSL_CTX_new");
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	return ctx;
}

SSL_CTX *new_server_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name;

	if (!ctx || !key || !cert)
		die("server context");
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1,
				   -1, 0);
	X509_set_issuer_name(cert, name);
	if (!X509_sign(cert, key, EVP_sha256()) || SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, key) != 1)
		die("server certificate");
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

static socklen_t loopback(const char *host, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		return sizeof(*v6);
	}
	die("not an address: %s", host);
}

int listen_on(const char *host)
{
	struct sockaddr_storage address;
	socklen_t len = loopback(host, &address);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, 1024))
		die("listen on %s", host);
	return fd;
}

int connect_to(int listener)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int fd, one = 1;

	if (getsockname(listener, (struct sockaddr *)&address, &len))
		die("getsockname");
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, len))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int accept_from(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		die("accept");
	return fd;
}

void set_blocking(int fd, bool blocking)
{
	int flags = fcntl(fd, F_GETFL) & ~O_NONBLOCK;

	if (fcntl(fd, F_SETFL, blocking ? flags : flags | O_NONBLOCK))
		die("fcntl");
}

void wait_for(int fd, int ssl_error)
{
	struct pollfd p = { .fd = fd };

	if (ssl_error == SSL_ERROR_WANT_READ)
		p.events = POLLIN;
	else if (ssl_error == SSL_ERROR_WANT_WRITE)
		p.events = POLLOUT;
	else
		die("SSL error %d", ssl_error);
	if (poll(&p, 1, 10000) != 1)
		die("nothing came for 10 s");
}

static void format_address(int fd, bool peer, char *text, size_t size)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	char host[INET6_ADDRSTRLEN];
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;

	text[0] = 0;
	if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&address, &len))
		die("address of the socket");
	if (address.ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(v4->sin_port));
	} else {
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%u", host, ntohs(v6->sin6_port));
	}
}

void end_addresses(struct end *e)
{
	format_address(e->fd, false, e->local, sizeof(e->local));
	format_address(e->fd, true, e->remote, sizeof(e->remote));
}

void end_reset_truth(struct end *e)
{
	e->sent = e->received = 0;
	EVP_MD_CTX_free(e->sent_hash);
	EVP_MD_CTX_free(e->received_hash);
	e->sent_hash = EVP_MD_CTX_new();
	e->received_hash = EVP_MD_CTX_new();
	if (!EVP_DigestInit(e->sent_hash, EVP_sha256()) ||
	    !EVP_DigestInit(e->received_hash, EVP_sha256()))
		die("sha256");
}

void end_open(struct end *e, SSL_CTX *ctx, int fd, bool server, const char *name)
{
	memset(e, 0, sizeof(*e));
	e->fd = fd;
	e->server = server;
	e->name = name;
	e->ssl = SSL_new(ctx);
	if (!e->ssl)
		die("SSL_new");
	end_reset_truth(e);
	if (fd < 0)
		return;
	end_addresses(e);
	if (SSL_set_fd(e->ssl, fd) != 1)
		die("SSL_set_fd");
}

void end_handshake(struct end *e)
{
	int result = e->server ? SSL_accept(e->ssl) : SSL_connect(e->ssl);

	if (result != 1)
		die("%s handshake: SSL error %d", e->name, SSL_get_error(e->ssl, result));
}

static void hex_digest(EVP_MD_CTX *hash, char text[65])
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	unsigned char digest[32];

	if (!EVP_MD_CTX_copy(copy, hash) || !EVP_DigestFinal(copy, digest, NULL))
		die("sha256");
	EVP_MD_CTX_free(copy);
	for (int i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

/* One write call, so that lines of several threads and processes do not mix. */
void end_truth(struct end *e)
{
	char sent[65], received[65], line[1024];
	int len;

	hex_digest(e->sent_hash, sent);
	hex_digest(e->received_hash, received);
	len = snprintf(line, sizeof(line),
		       "{\"end\":\"%s\",\"pid\":%d,\"role\":\"%s\",\"local\":\"%s\","
		       "\"remote\":\"%s\",\"sent\":%llu,\"sent_sha256\":\"%s\","
		       "\"received\":%llu,\"received_sha256\":\"%s\"}\n",
		       e->name, getpid(), e->server ? "server" : "client", e->local, e->remote,
		       (unsigned long long)e->sent, sent, (unsigned long long)e->received, received);
	if (write(STDOUT_FILENO, line, len) != len)
		die("write the truth");
}

void end_abandon(struct end *e)
{
	end_truth(e);
	SSL_free(e->ssl);
	e->ssl = NULL;
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

/* Reads on until the peer's close_notify: closing a socket with unread bytes resets the
 * connection, and what the peer has not read yet would be lost. */
void end_close(struct end *e)
{
	SSL_shutdown(e->ssl);
	read_to_end(e, 1000);
	end_abandon(e);
}

void note_sent(struct end *e, const void *data, size_t len)
{
	e->sent += len;
	EVP_DigestUpdate(e->sent_hash, data, len);
}

void note_received(struct end *e, const void *data, size_t len)
{
	e->received += len;
	EVP_DigestUpdate(e->received_hash, data, len);
}

void write_all(struct end *e, const void *data, size_t len)
{
	int n = SSL_write(e->ssl, data, len);

	if (n != (int)len)
		die("%s SSL_write %zu: %d, SSL error %d", e->name, len, n,
		    SSL_get_error(e->ssl, n));
	note_sent(e, data, len);
}

void read_all(struct end *e, size_t len, size_t chunk)
{
	unsigned char *buffer = malloc(chunk);

	while (len > 0) {
		int n = SSL_read(e->ssl, buffer, len < chunk ? len : chunk);

		if (n <= 0)
			die("%s SSL_read: SSL error %d, %zu missing", e->name,
			    SSL_get_error(e->ssl, n), len);
		note_received(e, buffer, n);
		len -= n;
	}
	free(buffer);
}

uint64_t read_to_end(struct end *e, size_t chunk)
{
	unsigned char *buffer = malloc(chunk);
	uint64_t total = 0;
	int n;

	while ((n = SSL_read(e->ssl, buffer, chunk)) > 0) {
		note_received(e, buffer, n);
		total += n;
	}
	free(buffer);
	return total;
}

void fill(void *data, size_t len, const char *tag, uint64_t number)
{
	unsigned char *bytes = data;
	char head[64];
	size_t head_len = snprintf(head, sizeof(head), "<%s %llu len %zu>", tag,
				   (unsigned long long)number, len);
	uint64_t x = 0x9e3779b97f4a7c15ull * (number + 1);

	for (const char *p = tag; *p; p++)
		x = (x ^ (unsigned char)*p) * 0x100000001b3ull;
	for (size_t i = 0; i < len; i++) {
		if (i < head_len) {
			bytes[i] = head[i];
			continue;
		}
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = x >> 32;
	}
}

void write_message(struct end *e, const char *tag, uint64_t number, size_t len)
{
	unsigned char *data = malloc(len);

	fill(data, len, tag, number);
	write_all(e, data, len);
	free(data);
}

static void *duo_thread(void *argument)
{
	struct duo *d = argument;

	d->open(&d->server, d->server_ctx, accept_from(d->listener), true, "server");
	d->serve(d);
	return NULL;
}

void duo_start(struct duo *d, const char *host, void (*serve)(struct duo *))
{
	if (!d->client_ctx)
		d->client_ctx = new_client_ctx();
	if (!d->server_ctx)
		d->server_ctx = new_server_ctx();
	d->listener = listen_on(host);
	d->serve = serve;
	if (!d->open)
		d->open = end_open;
	if (pthread_create(&d->thread, NULL, duo_thread, d))
		die("pthread_create");
	d->open(&d->client, d->client_ctx, connect_to(d->listener), false, "client");
}

void duo_join(struct duo *d)
{
	pthread_join(d->thread, NULL);
	close(d->listener);
}

void serve_exchange(struct duo *d)
{
	end_handshake(&d->server);
	read_all(&d->server, 1000, 300);
	write_message(&d->server, "reply", d->count, 3000);
	read_to_end(&d->server, 100);
	end_close(&d->server);
}

void exchange(const char *host, uint64_t number)
{
	struct duo d = { .count = number };

	duo_start(&d, host, serve_exchange);
	end_handshake(&d.client);
	write_message(&d.client, "request", number, 1000);
	read_all(&d.client, 3000, 4096);
	end_close(&d.client);
	duo_join(&d);
}

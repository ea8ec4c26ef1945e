/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "shared.h"
#include "peer.h"

#include <sys/wait.h>
#include <unistd.h>

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

void two_threads(void)
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
void fork_client(void)
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
void prefork(void)
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

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A program with a TLS library inside that does nothing (fake_tls.h). So connections come and go far faster than any handshake would
 * let them, and the recorder's books can be checked where it cannot keep up.
 *
 *   fake_tls short N        N connections, one after another, 200 bytes each
 *   fake_tls kept N         the same, never freed
 *   fake_tls processes P N  P processes, one after another, N connections each
 *   fake_tls exec K         executes itself K times; each image writes, then waits in a read
 *   fake_tls sendfile SIZE  writes, sends a file of so many bytes, writes again
 *   fake_tls flood MS       writes 1 KiB as fast as it goes for so many milliseconds
 *
 * Prints the bytes that were written and read, all in all.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_tls.h"
#include "stall.h"

#define MESSAGE 200

static char message[1024];

static unsigned long connections(int count, int freed, int stalls)
{
	for (int i = 0; i < count; i++) {
		struct ssl *ssl = connection();

		if (stalls)
			stall_parent(i, count);
		SSL_write(ssl, message, MESSAGE);
		if (freed)
			SSL_free(ssl);
	}
	return (unsigned long)count * MESSAGE;
}

static unsigned long processes(int count, int each)
{
	for (int i = 0; i < count; i++) {
		pid_t child;

		stall_parent(i, count);
		child = fork();
		if (!child) {
			connections(each, 0, 0);
			_exit(0);
		}
		if (child < 0 || waitpid(child, NULL, 0) != child)
			exit(1);
	}
	return (unsigned long)count * each * MESSAGE;
}

static unsigned long execs(char **argv, int left, unsigned long before)
{
	struct ssl *ssl = connection();
	char count[16], total[32];
	unsigned long sum;

	SSL_write(ssl, message, MESSAGE);
	SSL_read(ssl, message, MESSAGE);
	sum = before + 2 * MESSAGE;
	if (!left)
		return sum;
	snprintf(count, sizeof(count), "%d", left - 1);
	snprintf(total, sizeof(total), "%lu", sum);
	execl("/proc/self/exe", argv[0], "exec", count, total, NULL);
	exit(1);
}

static unsigned long send_file(long size)
{
	struct ssl *ssl = connection();
	unsigned long sum = SSL_write(ssl, message, MESSAGE);

	sum += SSL_sendfile(ssl, 0, 0, size, 0);
	sum += SSL_write(ssl, message, MESSAGE);
	SSL_free(ssl);
	return sum;
}

/* The second of three messages is in memory that nobody has touched, and this library does not. */
static unsigned long untouched(long size)
{
	struct ssl *ssl = connection();
	unsigned long sum = SSL_write(ssl, message, MESSAGE);
	char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		exit(1);
	sum += SSL_write(ssl, map, size);
	sum += SSL_write(ssl, message, MESSAGE);
	SSL_free(ssl);
	return sum;
}

static unsigned long flood(long milliseconds)
{
	struct ssl *ssl = connection();
	struct timespec start, now;
	unsigned long sum = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		for (int i = 0; i < 100; i++)
			sum += SSL_write(ssl, message, sizeof(message));
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
		 milliseconds);
	return sum;
}

int main(int argc, char **argv)
{
	const char *name = argc > 2 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;
	unsigned long sum;

	alarm(60);
	memset(message, 'm', sizeof(message));
	if (!strcmp(name, "short"))
		sum = connections(number, 1, 1);
	else if (!strcmp(name, "kept"))
		sum = connections(number, 0, 1);
	else if (!strcmp(name, "processes") && argc > 3)
		sum = processes(number, atoi(argv[3]));
	else if (!strcmp(name, "exec"))
		sum = execs(argv, number, argc > 3 ? strtoul(argv[3], NULL, 10) : 0);
	else if (!strcmp(name, "sendfile"))
		sum = send_file(atol(argv[2]));
	else if (!strcmp(name, "untouched"))
		sum = untouched(number);
	else if (!strcmp(name, "flood"))
		sum = flood(number);
	else
		return 2;
	printf("%lu\n", sum);
	return 0;
}

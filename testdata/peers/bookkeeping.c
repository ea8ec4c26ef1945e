/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What strains the recorder's books other than by its rate, with a TLS library inside that does
 * nothing (fake_tls.h).
 *
 *   bookkeeping threads N    N threads, each with a connection of its own, all of them in a read at once
 *   bookkeeping fault        writes from memory that cannot be read, then from such that can
 *   bookkeeping same-pid N   N processes, one after another, with one process number
 *   bookkeeping idle N       N connections, one after another; says `idle`, and does nothing more
 *
 * Prints the bytes that were written and read, all in all.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fake_tls.h"

#define MESSAGE 200
#define PAGE 4096

static char message[MESSAGE];
static pthread_barrier_t all_there;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *one_thread(void *unused)
{
	struct ssl *ssl = connection();
	char answer[MESSAGE];

	SSL_write(ssl, message, MESSAGE);
	pthread_barrier_wait(&all_there);
	SSL_read(ssl, answer, MESSAGE);
	SSL_free(ssl);
	return unused;
}

static unsigned long threads(unsigned int count)
{
	pthread_t *all = calloc(count, sizeof(*all));
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	pthread_barrier_init(&all_there, NULL, count);
	for (unsigned int i = 0; i < count; i++)
		if (pthread_create(&all[i], &small, one_thread, NULL))
			fail("pthread_create");
	for (unsigned int i = 0; i < count; i++)
		pthread_join(all[i], NULL);
	free(all);
	return count * 2ul * MESSAGE;
}

/* Two pages of a file that has one. */
static unsigned long fault(void)
{
	struct ssl *ssl = connection();
	FILE *file = tmpfile();
	char *pages;
	unsigned long sum;

	if (!file || ftruncate(fileno(file), PAGE))
		fail("tmpfile");
	pages = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fileno(file), 0);
	if (pages == MAP_FAILED)
		fail("mmap");
	sum = SSL_write(ssl, message, MESSAGE);
	sum += SSL_write(ssl, pages, 2 * PAGE);
	sum += SSL_write(ssl, message, MESSAGE);
	SSL_free(ssl);
	return sum;
}

/* A child with this number, or with any if it is 0. */
static pid_t child(pid_t number)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	if (number) {
		args.set_tid = (__u64)(uintptr_t)&number;
		args.set_tid_size = 1;
	}
	return syscall(SYS_clone3, &args, sizeof(args));
}

static unsigned long same_pid(int count)
{
	pid_t number = 0;

	for (int i = 0; i < count; i++) {
		pid_t pid = child(number);

		if (pid < 0)
			fail("clone3");
		if (!pid) {
			SSL_write(connection(), message, MESSAGE);
			_exit(0);
		}
		if (waitpid(pid, NULL, 0) != pid || (number && pid != number))
			fail("waitpid");
		number = pid;
	}
	return (unsigned long)count * MESSAGE;
}

static unsigned long idle(int count)
{
	for (int i = 0; i < count; i++) {
		struct ssl *ssl = connection();

		SSL_write(ssl, message, MESSAGE);
		SSL_free(ssl);
	}
	fprintf(stderr, "idle\n");
	return pause();
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;
	unsigned long sum;

	alarm(60);
	memset(message, 'm', sizeof(message));
	if (!strcmp(name, "threads"))
		sum = threads(number);
	else if (!strcmp(name, "fault"))
		sum = fault();
	else if (!strcmp(name, "same-pid"))
		sum = same_pid(number);
	else if (!strcmp(name, "idle"))
		sum = idle(number);
	else
		return 2;
	printf("%lu\n", sum);
	return 0;
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A library between a program and libssl whose constructor tries all that the code of a stranger
 * would try in a recorder that loads it.
 *
 * If it is loaded by descriptor, as the recorder's self-test does, the findings go to standard
 * output as the line by which a peer of the self-test gives up, so that the recorder prints them.
 * Any process that loads it by name adds a line to a file of its name and ".report" instead, if
 * there is one.
 *
 * With LOOPS it computes for ever in place of all that, where it is loaded by descriptor.
 *
 * Build: gcc -O2 -g -shared -fPIC -o stranger.so stranger.c -Wl,--no-as-needed -lssl
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "between_libssl.h"

int SSL_read(SSL *ssl, void *buf, int num)
{
	int result = true_read(ssl, buf, num);

	/* Keeps the call from becoming a jump, which placement leaves to the other function. */
	__asm__ volatile("" : "+r"(result));
	return result;
}

int SSL_write(SSL *ssl, const void *buf, int num)
{
	int result = true_write(ssl, buf, num);

	__asm__ volatile("" : "+r"(result));
	return result;
}

int SSL_do_handshake(SSL *ssl)
{
	int result = true_do_handshake(ssl);

	__asm__ volatile("" : "+r"(result));
	return result;
}

static char findings[4096];

static void note(const char *format, ...)
{
	size_t used = strlen(findings);
	va_list args;

	va_start(args, format);
	vsnprintf(findings + used, sizeof(findings) - used, format, args);
	va_end(args);
}

/* Whether an attempt succeeded. */
static void tried(const char *name, long result)
{
	note(" %s=%s", name, result == -1 ? "refused" : "DONE");
}

static void try_terminals(void)
{
	char key = 'x';

	for (int fd = 0; fd < 3; fd++) {
		tried("tiocsti", ioctl(fd, TIOCSTI, &key));
		tried("tcsetpgrp", tcsetpgrp(fd, getpgrp()));
	}
	tried("tty", open("/dev/tty", O_RDWR | O_CLOEXEC));
}

static void try_processes(void)
{
	pid_t child = fork();

	if (!child)
		for (;;)
			pause();
	tried("fork", child);
	tried("kill", kill(getppid() ? getppid() : 1, SIGCONT));
	tried("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
	tried("setsid", setsid());
	/* Returns only where it is refused. */
	tried("exec", execl("/bin/true", "true", NULL));
}

static void try_network(void)
{
	tried("inet", socket(AF_INET, SOCK_STREAM, 0));
	tried("unix", socket(AF_UNIX, SOCK_STREAM, 0));
	tried("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
}

static void try_files(const char *report)
{
	tried("report", open(report, O_WRONLY | O_APPEND | O_CLOEXEC));
	tried("create", open("/tmp/sslrec-stranger", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	tried("mkdir", mkdir("/tmp/sslrec-stranger-folder", 0700));
	tried("unlink", unlink(report));
	tried("memfd", memfd_create("stranger", 0));
	tried("shadow", open("/etc/shadow", O_RDONLY | O_CLOEXEC));
}

static void look_around(void)
{
	struct rlimit limit;
	struct stat meta;
	FILE *status;
	char line[256];

	note(" uid=%d gid=%d pid=%d", getuid(), getgid(), getpid());
	note(" env=%s", getenv("HOME") || getenv("LD_PRELOAD") ? "KEPT" : "empty");
	for (int fd = 3; fd < 64; fd++)
		/* This program's own copies of the socket, and the loader's descriptors. */
		if (!fstat(fd, &meta) && !S_ISSOCK(meta.st_mode) && !S_ISREG(meta.st_mode))
			note(" fd%d=OPEN", fd);
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur)
		note(" fsize=UNLIMITED");
	status = fopen("/proc/self/status", "re");
	while (status && fgets(line, sizeof(line), status)) {
		line[strcspn(line, "\n")] = 0;
		if (strstr(line, "CapPrm:") || strstr(line, "CapEff:"))
			note(" %.6s=%s", line, strtoull(line + 8, NULL, 16) ? "SOME" : "none");
	}
}

__attribute__((constructor)) static void begin(void)
{
	char path[PATH_MAX];
	Dl_info self;
	int file;

	resolve_libssl();
	if (!dladdr(&true_read, &self) || !realpath(self.dli_fname, path))
		return;
	strncat(path, ".report", sizeof(path) - strlen(path) - 1);
	if (strncmp(self.dli_fname, "/proc/self/fd/", 14)) {
		file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		if (file >= 0)
			dprintf(file, "loaded by a program\n");
		return;
	}
#ifdef LOOPS
	for (volatile int i = 0;; i++)
		;
#endif
	note("failed: a stranger's code:");
	look_around();
	try_terminals();
	try_network();
	try_files(path);
	try_processes();
	note("\n");
	if (write(STDOUT_FILENO, findings, strlen(findings)) < 0)
		abort();
}

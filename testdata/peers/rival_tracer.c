/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Another tracer, as bcc's are: it holds a probe with a reference counter on one function of a
 * library, so that the kernel refuses a second probe there that has none (EINVAL, "ref_ctr_offset
 * mismatch"). Only ever for a private copy of a library.
 *
 * Usage: rival_tracer LIBRARY OFFSET REF_CTR_OFFSET; it says "attached" and stays until stdin ends.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	struct perf_event_attr attr;
	char byte;
	int number;

	if (argc != 4 || !type || fscanf(type, "%d", &number) != 1) {
		fprintf(stderr, "rival_tracer: bad usage, or a kernel without uprobes\n");
		return 2;
	}
	fclose(type);
	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.type = number;
	attr.config = strtoull(argv[3], NULL, 0) << 32;
	attr.uprobe_path = (uintptr_t)argv[1];
	attr.probe_offset = strtoull(argv[2], NULL, 0);
	if (syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC) < 0) {
		fprintf(stderr, "rival_tracer: perf_event_open: %s\n", strerror(errno));
		return 1;
	}
	puts("attached");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "mapped.h"
#include "peer.h"

#include <stdio.h>
#include <sys/mman.h>

#define DATA_LEN 20000

/* Bytes as a file's: in memory, but in no page of this process until something touches them. */
static const void *mapped(const void *data, size_t len)
{
	FILE *file = tmpfile();
	void *map;

	if (!file || fwrite(data, 1, len, file) != len || fflush(file))
		die("temporary file");
	map = mmap(NULL, len, PROT_READ, MAP_SHARED, fileno(file), 0);
	if (map == MAP_FAILED)
		die("mmap");
	fclose(file);
	return map;
}

static void serve(struct duo *d)
{
	end_handshake(&d->server);
	read_to_end(&d->server, 4096);
	end_close(&d->server);
}

void untouched(void)
{
	static const char name[] = "untouched.test";
	unsigned char data[DATA_LEN];
	struct duo d = { 0 };

	fill(data, sizeof(data), "untouched", 1);
	duo_start(&d, "127.0.0.1", serve);
	if (!SSL_set_tlsext_host_name(d.client.ssl, mapped(name, sizeof(name))))
		die("SSL_set_tlsext_host_name");
	end_handshake(&d.client);
	if (SSL_write(d.client.ssl, mapped(data, sizeof(data)), sizeof(data)) != DATA_LEN)
		die("SSL_write");
	note_sent(&d.client, data, sizeof(data));
	end_close(&d.client);
	duo_join(&d);
}

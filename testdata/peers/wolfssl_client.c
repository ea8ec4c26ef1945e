/*
 * A client of wolfSSL: connects to 127.0.0.1 PORT as HOST, trusting CA, sends a request for PATH, and
 * writes what comes back to standard output.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char request[512], answer[4096];
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;
	int len;

	if (argc != 5)
		fail("usage: wolfssl_client PORT HOST CA PATH");
	address.sin_port = htons(atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("cannot connect");
	wolfSSL_Init();
	ctx = wolfSSL_CTX_new(wolfTLS_client_method());
	if (!ctx || wolfSSL_CTX_load_verify_locations(ctx, argv[3], NULL) != WOLFSSL_SUCCESS)
		fail("cannot load the certificate");
	ssl = wolfSSL_new(ctx);
	if (!ssl || wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, argv[2], strlen(argv[2])) != WOLFSSL_SUCCESS)
		fail("cannot name the server");
	wolfSSL_set_fd(ssl, fd);
	if (wolfSSL_connect(ssl) != WOLFSSL_SUCCESS)
		fail("no handshake");
	fprintf(stderr, "%s %s\n", wolfSSL_get_version(ssl), wolfSSL_get_cipher_name(ssl));
	len = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", argv[4]);
	if (wolfSSL_write(ssl, request, len) != len)
		fail("cannot write");
	while ((len = wolfSSL_read(ssl, answer, sizeof(answer))) > 0)
		fwrite(answer, 1, len, stdout);
	wolfSSL_shutdown(ssl);
	wolfSSL_free(ssl);
	wolfSSL_CTX_free(ctx);
	return close(fd);
}

/*
 * A client of mbedTLS: connects to 127.0.0.1 PORT as HOST, trusting CA, sends a request for PATH, and
 * writes what comes back to standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

static void check(int result, const char *what)
{
	if (!result)
		return;
	fprintf(stderr, "%s: -%#x\n", what, -result);
	exit(1);
}

int main(int argc, char **argv)
{
	mbedtls_ctr_drbg_context random;
	mbedtls_entropy_context entropy;
	mbedtls_ssl_config config;
	mbedtls_net_context net;
	mbedtls_ssl_context ssl;
	mbedtls_x509_crt ca;
	char request[512];
	unsigned char answer[4096];
	int len;

	if (argc != 5)
		return 2;
	mbedtls_ctr_drbg_init(&random);
	mbedtls_entropy_init(&entropy);
	mbedtls_ssl_config_init(&config);
	mbedtls_net_init(&net);
	mbedtls_ssl_init(&ssl);
	mbedtls_x509_crt_init(&ca);
	check(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "random");
	check(mbedtls_x509_crt_parse_file(&ca, argv[3]), "certificate");
	check(mbedtls_net_connect(&net, "127.0.0.1", argv[1], MBEDTLS_NET_PROTO_TCP), "connect");
	check(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT,
					  MBEDTLS_SSL_TRANSPORT_STREAM,
					  MBEDTLS_SSL_PRESET_DEFAULT), "configuration");
	mbedtls_ssl_conf_ca_chain(&config, &ca, NULL);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	check(mbedtls_ssl_setup(&ssl, &config), "setup");
	check(mbedtls_ssl_set_hostname(&ssl, argv[2]), "name");
	mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
	check(mbedtls_ssl_handshake(&ssl), "handshake");
	fprintf(stderr, "%s %s\n", mbedtls_ssl_get_version(&ssl), mbedtls_ssl_get_ciphersuite(&ssl));
	len = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", argv[4]);
	check(mbedtls_ssl_write(&ssl, (unsigned char *)request, len) - len, "write");
	while ((len = mbedtls_ssl_read(&ssl, answer, sizeof(answer))) > 0)
		fwrite(answer, 1, len, stdout);
	mbedtls_ssl_close_notify(&ssl);
	mbedtls_net_free(&net);
	mbedtls_ssl_free(&ssl);
	mbedtls_ssl_config_free(&config);
	return 0;
}

/*
 * unrecorded PORT: stands in for a program whose TLS cannot be recorded. Connects, sends what looks
 * like the beginning of a handshake, and ends. It is built with a text that rustls leaves in
 * programs (-DSIGN=...), or with a library of the name of Java's machine.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef SIGN
const char *volatile sign = SIGN;
#endif

#ifdef MACHINE
int machine(void);
#else
static int machine(void)
{
	return 0;
}
#endif

int main(int argc, char **argv)
{
#ifdef PLAIN
	static const char hello[] = { 'h', 'e', 'l', 'l', 'o', '\n' };
#else
	static const char hello[] = { 0x16, 0x03, 0x01, 0x00, 0x01, 0x01 };
#endif
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (argc != 2)
		return 2;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(atoi(argv[1]));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror("connect");
		return 1;
	}
	if (write(fd, hello, sizeof(hello)) != sizeof(hello))
		return 1;
	close(fd);
	return machine();
}

/* SPDX-License-Identifier: MIT */
/*
 * Many clients in one process, for the idle and the storm bench. Each client
 * signs in as a user of its own with the machines of the real client, stays,
 * takes the messages that are pushed (and throws them away), and after a loss
 * dials again when the real client would (client/registration.c,
 * client/backoff.c).
 *
 * usage: idle-client [-b | -i] PORT FIRST COUNT RATE PASSWORD-FILE
 *
 * The users are COUNT of them from uFIRST@example.test on; RATE of them sign in
 * each second, 0: all at once. -b: the server is a bare TLS server, which says
 * nothing; a client is "up" after its handshake. -i: the server speaks IMAP; a
 * client is up after LOGIN.
 *
 * Input, line by line: "stat" is answered with
 *	stat UP WAITING REFUSED DIALLED
 * (REFUSED: a person would have to act). At the end of each message the program
 * prints
 *	message USER MICROSECONDS
 * on the monotonic clock. The program ends when its input ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backoff.h"
#include "buf.h"
#include "restante/customer.h"
#include "restante/receiver.h"

/* As in client/registration.c */
#define HANDSHAKE_MS 10000
#define REPLY_MS 60000
#define SILENCE_MS 900000
#define STEADY_MS 30000
#define DISMISSED_STEADY_MS 600000
#define TICK_MS 50

enum state {
	WAITING,
	HANDSHAKE,
	SIGN_IN,
	UP,
};

struct client {
	unsigned int number;
	enum state state;
	int fd;
	SSL *ssl;
	struct rst_customer *customer;
	struct rst_receiver *receiver;
	struct rst_buf input;
	struct backoff backoff;
	int64_t due_ms; /* WAITING: to dial; else to give up */
	int64_t dialled_ms;
};

static struct {
	struct client *clients;
	unsigned int count;
	unsigned int up, refused;
	uint64_t dialled;
	bool bare, imap;
	int epoll;
	SSL_CTX *ctx;
	struct sockaddr_in server;
	char password[256];
} all;

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t now_ms(void)
{
	return now_us() / 1000;
}

static uint32_t chance(void)
{
	uint32_t value;

	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		abort();
	return value;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- the end of a connection */

enum end {
	LOST,
	DISMISSED,
	REFUSED,
};

static void end(struct client *c, enum end how)
{
	int64_t lasted = now_ms() - c->dialled_ms;
	bool dismissed = how == DISMISSED;

	if (c->state == UP &&
	    lasted >= (dismissed ? DISMISSED_STEADY_MS : STEADY_MS))
		backoff_reset(&c->backoff);
	if (c->state == UP)
		all.up--;
	SSL_free(c->ssl);
	c->ssl = NULL;
	close(c->fd);
	rst_customer_free(&c->customer);
	rst_receiver_free(&c->receiver);
	rst_buf_clear(&c->input);
	c->state = WAITING;
	if (how == REFUSED) {
		all.refused++;
		c->due_ms = now_ms() + backoff_refused_ms(chance());
		return;
	}
	c->due_ms = now_ms() +
		    (dismissed ? backoff_dismissed_ms(&c->backoff, chance())
			       : backoff_next_ms(&c->backoff, chance()));
}

/* ---- octets */

static void up(struct client *c)
{
	c->state = UP;
	c->due_ms = now_ms() + SILENCE_MS;
	all.up++;
}

static void turn(struct client *c)
{
	const struct rst_receiver_limits limits = {
		.hostname = "bench",
		.max_pending = 64,
		.idle_timeout_ms = SILENCE_MS,
	};

	rst_customer_free(&c->customer);
	c->receiver = rst_receiver_new(&limits, now_ms());
	up(c);
}

/* @return octets taken, or negative: it has ended, and how */
static ssize_t offer_customer(struct client *c, const char *p, size_t n)
{
	ssize_t taken = rst_customer_recv(c->customer, p, n, now_ms());

	switch (rst_customer_outcome(c->customer)) {
	case RST_CUSTOMER_RUNNING:
		return taken;
	case RST_CUSTOMER_TURNED:
		turn(c);
		return taken;
	case RST_CUSTOMER_REFUSED:
		fprintf(stderr, "u%u: %s\n", c->number,
			rst_customer_error(c->customer));
		return -1 - REFUSED;
	default:
		return -1 - LOST;
	}
}

static ssize_t offer_receiver(struct client *c, const char *p, size_t n)
{
	struct rst_receiver_event ev;
	ssize_t taken = rst_receiver_recv(c->receiver, p, n, now_ms());

	while (rst_receiver_next(c->receiver, &ev)) {
		if (ev.type == RST_RECEIVER_CLOSED)
			return -1 - DISMISSED;
		if (ev.type != RST_RECEIVER_END)
			continue;
		printf("message %u %lld\n", c->number, (long long)now_us());
		fflush(stdout);
		rst_receiver_done(c->receiver, ev.ticket, RST_VERDICT_OK,
				  "Stored");
	}
	return taken < 0 ? -1 - LOST : taken;
}

static bool write_output(struct client *c)
{
	const char *out;
	size_t len;

	if (all.imap)
		return true;
	for (;;) {
		if (c->receiver != NULL)
			out = rst_receiver_output(c->receiver, &len);
		else
			out = rst_customer_output(c->customer, &len);
		if (len == 0 || SSL_write(c->ssl, out, (int)len) <= 0)
			return len == 0;
		if (c->receiver != NULL)
			rst_receiver_sent(c->receiver, len);
		else
			rst_customer_sent(c->customer, len);
	}
}

/* @return false: it has ended */
static bool use_input(struct client *c)
{
	ssize_t taken;

	do {
		struct rst_str in = rst_buf_view(&c->input);

		taken = c->receiver != NULL ? offer_receiver(c, in.p, in.n)
					    : offer_customer(c, in.p, in.n);
		if (taken < 0) {
			end(c, (enum end)(-1 - taken));
			return false;
		}
		rst_buf_take(&c->input, (size_t)taken);
	} while (taken > 0);
	return true;
}

/* ---- IMAP */

static void imap_say_login(struct client *c)
{
	char line[400];
	int len =
		snprintf(line, sizeof(line), "a LOGIN u%u@example.test %s\r\n",
			 c->number, all.password);

	if (SSL_write(c->ssl, line, len) != len)
		end(c, LOST);
}

static void imap_line(struct client *c, struct rst_str line)
{
	if (c->state != SIGN_IN)
		return;
	if (line.n > 4 && memcmp(line.p, "* OK", 4) == 0)
		imap_say_login(c);
	else if (line.n > 4 && memcmp(line.p, "a OK", 4) == 0)
		up(c);
	else if (line.n > 1 && memcmp(line.p, "a ", 2) == 0)
		end(c, REFUSED);
}

/* @return false: it has ended */
static bool imap_input(struct client *c)
{
	struct rst_str in;
	const char *lf;

	while ((in = rst_buf_view(&c->input)).n > 0 &&
	       (lf = memchr(in.p, '\n', in.n)) != NULL) {
		in.n = (size_t)(lf - in.p) + 1;
		imap_line(c, in);
		if (c->state == WAITING)
			return false;
		rst_buf_take(&c->input, in.n);
	}
	return true;
}

/* ---- all of them */

static void transfer(struct client *c)
{
	static char buf[16384];
	int n;

	while ((n = SSL_read(c->ssl, buf, sizeof(buf))) > 0) {
		c->due_ms = now_ms() + (c->state == UP ? SILENCE_MS : REPLY_MS);
		if (all.bare)
			continue;
		rst_buf_append(&c->input, buf, (size_t)n);
		if (all.imap ? !imap_input(c) : !use_input(c))
			return;
		(void)write_output(c);
	}
	if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
		end(c, LOST);
	else if (!all.bare)
		(void)write_output(c);
}

/* ---- dialling */

static void connected(struct client *c)
{
	char user[64];
	const struct rst_customer_settings settings = {
		.hostname = "bench",
		.user = user,
		.password = all.password,
		.pipelined = true,
		.reply_timeout_ms = REPLY_MS,
	};

	if (all.bare) {
		up(c);
		return;
	}
	c->state = SIGN_IN;
	c->due_ms = now_ms() + REPLY_MS;
	if (all.imap)
		return;
	snprintf(user, sizeof(user), "u%u@example.test", c->number);
	c->customer = rst_customer_new(&settings, now_ms());
}

static void work(struct client *c)
{
	int ret;

	if (c->state == WAITING)
		return;
	ERR_clear_error();
	if (c->state == HANDSHAKE) {
		ret = SSL_connect(c->ssl);
		if (ret != 1) {
			ret = SSL_get_error(c->ssl, ret);
			if (ret != SSL_ERROR_WANT_READ &&
			    ret != SSL_ERROR_WANT_WRITE)
				end(c, LOST);
			return;
		}
		connected(c);
	}
	transfer(c);
}

static void dial(struct client *c)
{
	struct epoll_event ev = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 {.ptr = c}};
	int on = 1;

	all.dialled++;
	c->dialled_ms = now_ms();
	c->due_ms = c->dialled_ms + HANDSHAKE_MS;
	c->state = HANDSHAKE;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->ssl = SSL_new(all.ctx);
	if (c->fd < 0 || c->ssl == NULL)
		die("dial");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	SSL_set_fd(c->ssl, c->fd);
	if (connect(c->fd, (struct sockaddr *)&all.server, sizeof(all.server)) <
		    0 &&
	    errno != EINPROGRESS)
		end(c, LOST);
	else if (epoll_ctl(all.epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("epoll_ctl");
}

static void look_at_time(void)
{
	static int64_t next_ms;
	int64_t now = now_ms();
	unsigned int i;

	if (now < next_ms)
		return;
	next_ms = now + TICK_MS;
	for (i = 0; i < all.count; i++) {
		struct client *c = &all.clients[i];

		if (now < c->due_ms)
			continue;
		if (c->state == WAITING)
			dial(c);
		else if (!all.bare)
			end(c, LOST);
	}
}

/* ---- */

/* @return false: no input any more */
static bool answer(void)
{
	char line[64];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line));
	unsigned int i, waiting = 0;

	if (n <= 0)
		return false;
	for (i = 0; i < all.count; i++)
		waiting += all.clients[i].state == WAITING;
	printf("stat %u %u %u %llu\n", all.up, waiting, all.refused,
	       (unsigned long long)all.dialled);
	fflush(stdout);
	return true;
}

static void run(void)
{
	struct epoll_event in = {EPOLLIN, {.ptr = NULL}}, events[256];
	bool going = true;
	int i, n;

	if (epoll_ctl(all.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in) < 0)
		die("stdin");
	while (going) {
		n = epoll_wait(all.epoll, events, 256, TICK_MS);
		for (i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				going = answer();
			else
				work(events[i].data.ptr);
		}
		look_at_time();
	}
}

static void read_password(const char *path)
{
	FILE *file = fopen(path, "r");

	if (file == NULL ||
	    fgets(all.password, sizeof(all.password), file) == NULL)
		die(path);
	all.password[strcspn(all.password, "\n")] = '\0';
	fclose(file);
}

static void set_up(char **arg)
{
	unsigned int first = (unsigned int)atoi(arg[1]), i;
	unsigned int rate = (unsigned int)atoi(arg[3]);
	int64_t start_ms = now_ms();

	all.server = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(arg[0])),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};
	all.count = (unsigned int)atoi(arg[2]);
	all.clients = rst_calloc(all.count, sizeof(*all.clients));
	for (i = 0; i < all.count; i++) {
		all.clients[i].number = first + i;
		all.clients[i].due_ms =
			start_ms + (rate > 0 ? (int64_t)i * 1000 / rate : 0);
	}
	read_password(arg[4]);
	all.epoll = epoll_create1(EPOLL_CLOEXEC);
	all.ctx = SSL_CTX_new(TLS_client_method());
	if (all.epoll < 0 || all.ctx == NULL)
		die("set up");
	SSL_CTX_set_mode(all.ctx, SSL_MODE_RELEASE_BUFFERS |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (!all.imap)
		SSL_CTX_set_alpn_protos(
			all.ctx, (const unsigned char *)"\10restante", 9);
}

int main(int argc, char **argv)
{
	bool option;

	all.bare = argc > 1 && strcmp(argv[1], "-b") == 0;
	all.imap = argc > 1 && strcmp(argv[1], "-i") == 0;
	option = all.bare || all.imap;
	if (argc != (option ? 7 : 6)) {
		fputs("usage: idle-client [-b | -i] PORT FIRST COUNT RATE "
		      "PASSWORD-FILE\n",
		      stderr);
		return 64;
	}
	signal(SIGPIPE, SIG_IGN);
	set_up(argv + (option ? 2 : 1));
	run();
	return 0;
}

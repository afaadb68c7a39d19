/* SPDX-License-Identifier: MIT */
/*
 * A link between two machines, emulated on one machine: two network namespaces
 * with a TUN device in each, and this program, which carries packets from one
 * device to the other. Both ends have real TCP; this program makes the delay,
 * the rate, the queue and the loss.
 *
 * usage: link SERVER-ADDRESS CLIENT-ADDRESS
 *
 * The first line of output is "ready S C": /proc/PID/fd/S and /proc/PID/fd/C
 * are the namespaces, for setns(2) or nsenter(1). They have no names, and
 * vanish when this program and all processes that were started in them have
 * ended.
 *
 * Each line of input sets both directions anew:
 *	DELAY RATE QUEUE LOSS SEED
 * DELAY is that of one direction in microseconds; RATE is in bits a second,
 * counted in IP packets (0: as fast as possible); QUEUE is the number of
 * packets that may wait for the rate before the next is dropped; LOSS is the
 * number of packets of a million that are lost, drawn from SEED. The answer is
 * a line with the packets since the last answer, for each direction: carried,
 * lost, dropped. The program ends when its input ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_PACKET 2048
#define MAX_ON_THE_WAY 65536
#define BATCH 64
#define NS 1000000000LL

struct packet {
	int64_t sent_ns;    /* when its last bit leaves the queue */
	int64_t arrives_ns; /* when it is at the other end */
	size_t len;
	char *octets;
};

struct direction {
	int from, to;
	struct packet *ring; /* MAX_ON_THE_WAY of them */
	size_t first, count;
	size_t queued;   /* the last of them, not sent yet */
	int64_t free_ns; /* when the wire is free for the next */
	uint64_t random;
	unsigned long carried, lost, dropped;
};

struct settings {
	int64_t delay_ns;
	int64_t rate;
	size_t queue;
	uint32_t loss;
};

static void die(const char *what)
{
	fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * NS + ts.tv_nsec;
}

/* splitmix64: every seed gives a good start */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* ---- the two ends */

static void set_address(int sock, struct ifreq *ifr, unsigned long request,
			const char *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&ifr->ifr_addr;

	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	if (inet_pton(AF_INET, address, &in->sin_addr) != 1) {
		errno = EINVAL;
		die(address);
	}
	if (ioctl(sock, request, ifr) < 0)
		die(address);
}

static void bring_up(int sock, struct ifreq *ifr)
{
	ifr->ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(sock, SIOCSIFFLAGS, ifr) < 0)
		die(ifr->ifr_name);
}

/* Enter a new namespace, with a device to PEER. @return the device */
static int new_end(const char *address, const char *peer, int *namespace_r)
{
	struct ifreq ifr = {0};
	int fd, sock;

	if (unshare(CLONE_NEWNET) < 0)
		die("unshare");
	*namespace_r = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*namespace_r < 0 || fd < 0 || sock < 0)
		die("/dev/net/tun");
	(void)strcpy(ifr.ifr_name, "lo");
	bring_up(sock, &ifr);
	(void)strcpy(ifr.ifr_name, "link");
	ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		die("TUNSETIFF");
	set_address(sock, &ifr, SIOCSIFADDR, address);
	set_address(sock, &ifr, SIOCSIFDSTADDR, peer);
	bring_up(sock, &ifr);
	(void)close(sock);
	return fd;
}

/* ---- one direction */

static struct packet *at(const struct direction *dir, size_t n)
{
	return &dir->ring[(dir->first + n) % MAX_ON_THE_WAY];
}

static void count_queued(struct direction *dir, int64_t time_ns)
{
	while (dir->queued > 0 &&
	       at(dir, dir->count - dir->queued)->sent_ns <= time_ns)
		dir->queued--;
}

static void accept_packet(struct direction *dir, const struct settings *set,
			  const char *octets, size_t len)
{
	int64_t time_ns = now();
	struct packet *packet;

	if (draw(&dir->random) % 1000000 < set->loss) {
		dir->lost++;
		return;
	}
	count_queued(dir, time_ns);
	/* the one that is being sent does not wait */
	if (dir->count == MAX_ON_THE_WAY || dir->queued > set->queue) {
		dir->dropped++;
		return;
	}
	if (dir->free_ns < time_ns)
		dir->free_ns = time_ns;
	if (set->rate > 0)
		dir->free_ns += (int64_t)len * 8 * NS / set->rate;
	packet = at(dir, dir->count++);
	dir->queued++;
	packet->sent_ns = dir->free_ns;
	packet->arrives_ns = dir->free_ns + set->delay_ns;
	packet->len = len;
	packet->octets = malloc(len);
	if (packet->octets == NULL)
		die("malloc");
	memcpy(packet->octets, octets, len);
}

static void take(struct direction *dir, const struct settings *set)
{
	char octets[MAX_PACKET];
	ssize_t n;
	int i;

	/* not for ever: the other direction waits */
	for (i = 0; i < BATCH; i++) {
		n = read(dir->from, octets, sizeof(octets));
		if (n < 0)
			return;
		accept_packet(dir, set, octets, (size_t)n);
	}
}

static void pop(struct direction *dir)
{
	free(at(dir, 0)->octets);
	dir->first = (dir->first + 1) % MAX_ON_THE_WAY;
	dir->count--;
	if (dir->queued > dir->count)
		dir->queued = dir->count;
}

static void deliver(struct direction *dir)
{
	while (dir->count > 0 && at(dir, 0)->arrives_ns <= now()) {
		/* an end that is not up loses it, as ends do */
		if (write(dir->to, at(dir, 0)->octets, at(dir, 0)->len) > 0)
			dir->carried++;
		pop(dir);
	}
}

static void start_anew(struct direction *dir, uint64_t seed)
{
	while (dir->count > 0)
		pop(dir);
	dir->queued = 0;
	dir->free_ns = 0;
	dir->random = seed;
	dir->carried = dir->lost = dir->dropped = 0;
}

/* ---- both */

static bool set_from_input(struct settings *set, struct direction dirs[2])
{
	long long delay_us, rate, queue, loss, seed;
	char line[256];
	int i;

	if (fgets(line, sizeof(line), stdin) == NULL)
		return false;
	if (sscanf(line, "%lld %lld %lld %lld %lld", &delay_us, &rate, &queue,
		   &loss, &seed) != 5 ||
	    delay_us < 0 || rate < 0 || queue < 0 || loss < 0) {
		fprintf(stderr, "link: not understood: %s", line);
		return false;
	}
	set->delay_ns = delay_us * 1000;
	set->rate = rate;
	set->queue = (size_t)queue;
	set->loss = (uint32_t)loss;
	for (i = 0; i < 2; i++) {
		printf("%lu %lu %lu%c", dirs[i].carried, dirs[i].lost,
		       dirs[i].dropped, i == 0 ? ' ' : '\n');
		start_anew(&dirs[i], (uint64_t)seed * 2 + (uint64_t)i);
	}
	return fflush(stdout) == 0;
}

static struct timespec *until_next(const struct direction dirs[2],
				   struct timespec *ts)
{
	int64_t next_ns = INT64_MAX, left_ns;
	int i;

	for (i = 0; i < 2; i++)
		if (dirs[i].count > 0 && at(&dirs[i], 0)->arrives_ns < next_ns)
			next_ns = at(&dirs[i], 0)->arrives_ns;
	if (next_ns == INT64_MAX)
		return NULL;
	left_ns = next_ns - now();
	if (left_ns < 0)
		left_ns = 0;
	ts->tv_sec = (time_t)(left_ns / NS);
	ts->tv_nsec = (long)(left_ns % NS);
	return ts;
}

static void carry(struct settings *set, struct direction dirs[2])
{
	struct timespec ts;
	int i;

	for (;;) {
		struct pollfd fds[3] = {
			{.fd = dirs[0].from, .events = POLLIN},
			{.fd = dirs[1].from, .events = POLLIN},
			{.fd = STDIN_FILENO, .events = POLLIN},
		};

		if (ppoll(fds, 3, until_next(dirs, &ts), NULL) < 0 &&
		    errno != EINTR)
			die("ppoll");
		for (i = 0; i < 2; i++) {
			if (fds[i].revents & POLLIN)
				take(&dirs[i], set);
			deliver(&dirs[i]);
		}
		if (fds[2].revents != 0 && !set_from_input(set, dirs))
			return;
	}
}

/* Others use the machine as well; a packet is not to wait for them. */
static void be_in_time(void)
{
	struct sched_param param = {.sched_priority = 1};

	(void)sched_setscheduler(0, SCHED_RR, &param);
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
}

int main(int argc, char **argv)
{
	struct direction dirs[2] = {0};
	struct settings set = {.queue = MAX_ON_THE_WAY};
	int server, client, i;

	if (argc != 3) {
		fprintf(stderr, "usage: link SERVER-ADDRESS CLIENT-ADDRESS\n");
		return 64;
	}
	/* its input is polled: nothing may stay behind in a buffer */
	(void)setvbuf(stdin, NULL, _IONBF, 0);
	dirs[0].from = dirs[1].to = new_end(argv[1], argv[2], &server);
	dirs[1].from = dirs[0].to = new_end(argv[2], argv[1], &client);
	for (i = 0; i < 2; i++) {
		dirs[i].ring = calloc(MAX_ON_THE_WAY, sizeof(struct packet));
		if (dirs[i].ring == NULL)
			die("calloc");
	}
	be_in_time();
	printf("ready %d %d\n", server, client);
	(void)fflush(stdout);
	carry(&set, dirs);
	return 0;
}

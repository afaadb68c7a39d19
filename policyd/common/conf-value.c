/* SPDX-License-Identifier: MIT */
#include "conf-value.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "restante/str.h"

#define MAX_DURATION_MS (INT64_C(10) * 366 * 86400 * 1000)
#define DIGITS "0123456789"

struct unit {
	const char *name;
	uint64_t factor;
};

bool conf_value_number(const char *text, uint64_t min, uint64_t max,
		       uint64_t *value_r)
{
	uint64_t value;

	if (!rst_str_to_u64(rst_str(text), &value) || value < min ||
	    value > max)
		return false;
	*value_r = value;
	return true;
}

static bool number_with_unit(const char *text, const struct unit *units,
			     uint64_t max, uint64_t *value_r)
{
	size_t digits = strspn(text, DIGITS);
	uint64_t value;

	if (!rst_str_to_u64((struct rst_str){text, digits}, &value))
		return false;
	while (units->name != NULL && strcmp(units->name, text + digits) != 0)
		units++;
	if (units->name == NULL || value > max / units->factor)
		return false;
	*value_r = value * units->factor;
	return true;
}

bool conf_value_duration(const char *text, int64_t *ms_r)
{
	static const struct unit units[] = {
		{"", 1000},     {"ms", 1},       {"s", 1000}, {"m", 60000},
		{"h", 3600000}, {"d", 86400000}, {NULL, 0},
	};
	uint64_t ms;

	if (!number_with_unit(text, units, MAX_DURATION_MS, &ms) || ms == 0)
		return false;
	*ms_r = (int64_t)ms;
	return true;
}

bool conf_value_size(const char *text, uint64_t *octets_r)
{
	static const struct unit units[] = {
		{"", 1},           {"k", 1024}, {"M", 1048576},
		{"G", 1073741824}, {NULL, 0},
	};

	return number_with_unit(text, units, INT64_MAX, octets_r);
}

bool conf_value_is_congestion(const char *text)
{
	size_t n = strlen(text);

	return n < CONF_CONGESTION_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-_.") == n;
}

static bool is_label(struct rst_str label)
{
	size_t i;

	if (label.n == 0 || label.n > 63 || label.p[0] == '-' ||
	    label.p[label.n - 1] == '-')
		return false;
	for (i = 0; i < label.n; i++) {
		if (strchr("abcdefghijklmnopqrstuvwxyz"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-_",
			   label.p[i]) == NULL)
			return false;
	}
	return true;
}

bool conf_value_is_hostname(const char *text)
{
	struct rst_str rest = rst_str(text), label;

	if (rest.n == 0 || rest.n > 253 || text[rest.n - 1] == '.')
		return false;
	while (rst_str_split(&rest, '.', &label)) {
		if (!is_label(label))
			return false;
	}
	return true;
}

/* Cuts "host:port" in two; the host loses its brackets. */
static bool split_port(const char *text, char *host, size_t host_size,
		       in_port_t *port_r)
{
	const char *colon = strrchr(text, ':');
	size_t n;
	uint64_t port;

	if (colon == NULL || !conf_value_number(colon + 1, 1, 65535, &port))
		return false;
	n = (size_t)(colon - text);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	} else if (memchr(text, ':', n) != NULL) {
		return false; /* an IPv6 address needs brackets */
	}
	if (n == 0 || n >= host_size)
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	*port_r = htons((in_port_t)port);
	return true;
}

bool conf_value_listen(const char *text, struct conf_listen *listen_r)
{
	struct conf_listen l = {.text = listen_r->text};
	char host[INET6_ADDRSTRLEN];
	in_port_t port;

	if (!split_port(text, host, sizeof(host), &port))
		return false;
	l.any = strcmp(host, "*") == 0;
	if (text[0] == '[' || l.any) {
		l.addr.in6.sin6_family = AF_INET6;
		l.addr.in6.sin6_port = port;
		l.addr.in6.sin6_addr = in6addr_any;
		l.addr_len = sizeof(l.addr.in6);
		if (!l.any &&
		    inet_pton(AF_INET6, host, &l.addr.in6.sin6_addr) != 1)
			return false;
	} else {
		l.addr.in4.sin_family = AF_INET;
		l.addr.in4.sin_port = port;
		l.addr_len = sizeof(l.addr.in4);
		if (inet_pton(AF_INET, host, &l.addr.in4.sin_addr) != 1)
			return false;
	}
	*listen_r = l;
	return true;
}

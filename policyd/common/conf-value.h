/* SPDX-License-Identifier: MIT */
/** Reads the values of the configuration file. Nothing here does I/O. */
#ifndef POLICYD_COMMON_CONF_VALUE_H
#define POLICYD_COMMON_CONF_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <netinet/in.h>

/** The kernel's TCP_CA_NAME_MAX: octets of a congestion control's name, with
    its NUL. */
#define CONF_CONGESTION_MAX 16

/** One address to listen on. */
struct conf_listen {
	char *text; /**< as it stands in the file */
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} addr;
	socklen_t addr_len;
	/** "*": one socket for IPv6 and IPv4, or for IPv4 alone where the
	    kernel knows no IPv6 */
	bool any;
};

/* All return whether text is valid; if it is not, *value_r is unchanged. */

/** Decimal digits, within min..max. */
bool conf_value_number(const char *text, uint64_t min, uint64_t max,
		       uint64_t *value_r);
/** Digits with "ms", "s", "m", "h" or "d"; seconds without. At least 1 ms, at
    most 10 years. */
bool conf_value_duration(const char *text, int64_t *ms_r);
/** Octets: digits with "k", "M" or "G" (powers of 1024). */
bool conf_value_size(const char *text, uint64_t *octets_r);
/** A host name as in the DNS, in ASCII, without a dot at its end. */
bool conf_value_is_hostname(const char *text);
/** A possible name of a congestion control of the kernel; or "". */
bool conf_value_is_congestion(const char *text);
/** "192.0.2.1:8463", "[2001:db8::1]:8463" or "*:8463". listen_r->text stays. */
bool conf_value_listen(const char *text, struct conf_listen *listen_r);

#endif

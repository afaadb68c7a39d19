/* SPDX-License-Identifier: MIT */
#include "restante/ipc.h"

#include <string.h>

#include "restante/smtp.h"

/* type, flags, id, session, n */
#define HEADER_SIZE (2 + 2 + 4 + 8 + RST_IPC_NUMBERS * 8)

/* The longest fields a, b and c can have. */
#define HOSTNAME_MAX 255
#define CONGESTION_MAX 15
#define MECHANISMS_MAX 1024
#define MECHANISM_MAX 64
#define TICKET_KEYS_MAX 128
/* one AUTH line can carry as much */
#define SASL_MAX RST_SMTP_AUTH_LINE_MAX
#define ADDRESS_MAX 64
#define USER_MAX 1024
#define DOMAINS_MAX RST_SMTP_LINE_MAX
#define TEXT_MAX 512

/* The side that a type goes to, and what comes with it. Other types do not
   exist. */
struct rule {
	bool known;
	enum rst_ipc_side side;
	bool has_fd;
	bool has_session; /* else session is 0 */
	bool has_verdict;
	size_t max_a, max_b, max_c;
};

#define TO_WORKER .known = true, .side = RST_IPC_TO_WORKER
#define TO_CORE .known = true, .side = RST_IPC_TO_CORE

static const struct rule rules[] = {
	[RST_IPC_CONFIG] = {TO_WORKER, .max_a = HOSTNAME_MAX,
			    .max_b = CONGESTION_MAX},
	[RST_IPC_TLS] = {TO_WORKER, .has_fd = true, .max_a = TICKET_KEYS_MAX},
	[RST_IPC_MECHANISMS] = {TO_WORKER, .max_a = MECHANISMS_MAX},
	[RST_IPC_AUTH_CHALLENGE] = {TO_WORKER, .has_session = true,
				    .max_a = SASL_MAX},
	[RST_IPC_AUTH_DONE] = {TO_WORKER, .has_session = true,
			       .has_verdict = true},
	[RST_IPC_ATRN_DONE] = {TO_WORKER, .has_session = true,
			       .has_verdict = true, .max_a = USER_MAX},
	[RST_IPC_HELD] = {TO_WORKER, .has_session = true},
	[RST_IPC_HOLD] = {TO_WORKER, .has_session = true, .has_fd = true},
	[RST_IPC_HOLD_FAILED] = {TO_WORKER, .has_session = true},
	[RST_IPC_DISMISS] = {TO_WORKER, .has_session = true, .max_a = TEXT_MAX},
	[RST_IPC_SHUTDOWN] = {TO_WORKER},
	[RST_IPC_PING] = {TO_WORKER},

	[RST_IPC_AUTH] = {TO_CORE, .has_session = true, .max_a = MECHANISM_MAX,
			  .max_b = SASL_MAX, .max_c = ADDRESS_MAX},
	[RST_IPC_AUTH_CONTINUE] = {TO_CORE, .has_session = true,
				   .max_a = SASL_MAX},
	[RST_IPC_AUTH_CANCEL] = {TO_CORE, .has_session = true},
	[RST_IPC_ATRN] = {TO_CORE, .has_session = true, .max_a = DOMAINS_MAX},
	[RST_IPC_HOLD_OPEN] = {TO_CORE, .has_session = true},
	[RST_IPC_HOLD_CLOSED] = {TO_CORE, .has_session = true},
	[RST_IPC_SETTLING] = {TO_CORE, .has_session = true},
	[RST_IPC_CLOSED] = {TO_CORE, .has_session = true},
	[RST_IPC_PONG] = {TO_CORE},
};

_Static_assert(HEADER_SIZE + 3 * 4 + MECHANISM_MAX + SASL_MAX + ADDRESS_MAX <=
		       RST_IPC_MAX,
	       "the longest message must fit");

/* @return NULL: there is no such type */
static const struct rule *find_rule(unsigned int type)
{
	if (type >= sizeof(rules) / sizeof(rules[0]) || !rules[type].known)
		return NULL;
	return &rules[type];
}

bool rst_ipc_has_fd(enum rst_ipc_type type)
{
	const struct rule *rule = find_rule(type);

	return rule != NULL && rule->has_fd;
}

/* ---- octets */

static char *put_uint(char *out, uint64_t value, size_t octets)
{
	for (; octets > 0; octets--, value >>= 8)
		*out++ = (char)(value & 0xff);
	return out;
}

static char *put_str(char *out, struct rst_str s)
{
	out = put_uint(out, s.n, 4);
	/* a field that the caller left alone is all zero */
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	return out + s.n;
}

static uint64_t get_uint(const char **in, size_t octets)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < octets; i++)
		value |= (uint64_t)(unsigned char)(*in)[i] << (8 * i);
	*in += octets;
	return value;
}

static bool get_str(const char **in, const char *end, size_t max,
		    struct rst_str *s_r)
{
	size_t n;

	if (end - *in < 4)
		return false;
	n = (size_t)get_uint(in, 4);
	if (n > max || n > (size_t)(end - *in))
		return false;
	*s_r = (struct rst_str){*in, n};
	*in += n;
	return true;
}

/* ---- messages */

ssize_t rst_ipc_encode(const struct rst_ipc *msg, char out[RST_IPC_MAX])
{
	const struct rule *rule = find_rule(msg->type);
	char *at = out;
	size_t i;

	if (rule == NULL || msg->a.n > rule->max_a || msg->b.n > rule->max_b ||
	    msg->c.n > rule->max_c)
		return RST_ELIMIT;
	at = put_uint(at, msg->type, 2);
	at = put_uint(at, rule->has_verdict ? msg->verdict : RST_VERDICT_OK, 2);
	at = put_uint(at, msg->id, 4);
	at = put_uint(at, msg->session, 8);
	for (i = 0; i < RST_IPC_NUMBERS; i++)
		at = put_uint(at, (uint64_t)msg->n[i], 8);
	at = put_str(at, msg->a);
	at = put_str(at, msg->b);
	at = put_str(at, msg->c);
	return at - out;
}

int rst_ipc_decode(const char *buf, size_t len, enum rst_ipc_side side,
		   struct rst_ipc *msg_r)
{
	const char *end = buf + len;
	const struct rule *rule;
	unsigned int type, flags;
	size_t i;

	*msg_r = (struct rst_ipc){
		.a = RST_STR(""), .b = RST_STR(""), .c = RST_STR("")};
	if (len < HEADER_SIZE || len > RST_IPC_MAX)
		return RST_EPROTO;
	type = (unsigned int)get_uint(&buf, 2);
	flags = (unsigned int)get_uint(&buf, 2);
	rule = find_rule(type);
	if (rule == NULL || rule->side != side ||
	    flags > (rule->has_verdict ? RST_VERDICT_REFUSED : RST_VERDICT_OK))
		return RST_EPROTO;
	msg_r->type = type;
	msg_r->verdict = flags;
	msg_r->id = (uint32_t)get_uint(&buf, 4);
	msg_r->session = get_uint(&buf, 8);
	for (i = 0; i < RST_IPC_NUMBERS; i++)
		msg_r->n[i] = (int64_t)get_uint(&buf, 8);
	if ((msg_r->session != 0) != rule->has_session ||
	    !get_str(&buf, end, rule->max_a, &msg_r->a) ||
	    !get_str(&buf, end, rule->max_b, &msg_r->b) ||
	    !get_str(&buf, end, rule->max_c, &msg_r->c) || buf != end)
		return RST_EPROTO;
	return 0;
}

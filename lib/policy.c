/* SPDX-License-Identifier: MIT */
#include "restante/policy.h"

#include <stddef.h>
#include <string.h>

#define ATTRIBUTE(field)                                           \
	{                                                          \
		{#field, sizeof(#field) - 1},                      \
			offsetof(struct rst_policy_request, field) \
	}

static const struct attribute {
	struct rst_str name;
	size_t offset;
} attributes[] = {
	ATTRIBUTE(request),
	ATTRIBUTE(protocol_state),
	ATTRIBUTE(protocol_name),
	ATTRIBUTE(client_address),
	ATTRIBUTE(client_name),
	ATTRIBUTE(helo_name),
	ATTRIBUTE(queue_id),
	ATTRIBUTE(instance),
	ATTRIBUTE(sender),
	ATTRIBUTE(recipient),
	ATTRIBUTE(recipient_count),
	ATTRIBUTE(sasl_username),
	ATTRIBUTE(size),
	ATTRIBUTE(policy_context),
};
#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

static struct rst_str *field_of(struct rst_policy_request *req,
				const struct attribute *attribute)
{
	return (struct rst_str *)(void *)((char *)req + attribute->offset);
}

static void set_field(struct rst_policy_request *req, struct rst_str name,
		      struct rst_str value)
{
	size_t i;

	for (i = 0; i < ATTRIBUTES; i++) {
		if (rst_str_eq(attributes[i].name, name)) {
			*field_of(req, &attributes[i]) = value;
			return;
		}
	}
}

/* Values may hold '=': the first one is the separator. */
static int parse_line(struct rst_str line, struct rst_policy_request *req)
{
	const char *equals = memchr(line.p, '=', line.n);
	size_t name_len;

	if (equals == NULL || memchr(line.p, '\0', line.n) != NULL)
		return RST_EPROTO;
	name_len = (size_t)(equals - line.p);
	set_field(req, (struct rst_str){line.p, name_len},
		  (struct rst_str){equals + 1, line.n - name_len - 1});
	return 0;
}

static ssize_t finish(const struct rst_policy_request *req, size_t used)
{
	if (!rst_str_eq(req->request, RST_STR("smtpd_access_policy")))
		return RST_EPROTO;
	return (ssize_t)used;
}

ssize_t rst_policy_parse(const char *buf, size_t len,
			 struct rst_policy_request *req_r)
{
	/* octets beyond the limit are not looked at, so that the answer does
	   not depend on how many of them have come */
	size_t max =
		len < RST_POLICY_REQUEST_MAX ? len : RST_POLICY_REQUEST_MAX;
	size_t used = 0, i;
	const char *lf;

	for (i = 0; i < ATTRIBUTES; i++)
		*field_of(req_r, &attributes[i]) = RST_STR("");
	while (used < max &&
	       (lf = memchr(buf + used, '\n', max - used)) != NULL) {
		struct rst_str line = {buf + used, (size_t)(lf - buf) - used};

		used += line.n + 1;
		if (line.n == 0)
			return finish(req_r, used);
		if (parse_line(line, req_r) < 0)
			return RST_EPROTO;
	}
	return max == RST_POLICY_REQUEST_MAX ? RST_ELIMIT : 0;
}

/*
 * TOO_LARGE and NO_SUCH_MAILBOX have Postfix's own words (smtpd_check.c), the
 * latter those for a virtual_mailbox_domains recipient. Postfix puts
 * "<recipient>: Recipient address rejected: " before them.
 */
struct rst_str rst_policy_answer(enum rst_policy_action action)
{
	switch (action) {
	case RST_POLICY_NO_ROOM:
		return RST_STR("action=452 4.2.2 Mailbox full\n\n");
	case RST_POLICY_TOO_LARGE:
		return RST_STR("action=552 5.3.4 Message size exceeds "
			       "fixed limit\n\n");
	case RST_POLICY_NO_SUCH_MAILBOX:
		return RST_STR("action=550 5.1.1 User unknown in virtual "
			       "mailbox table\n\n");
	case RST_POLICY_DUNNO:
		break;
	}
	return RST_STR("action=DUNNO\n\n");
}

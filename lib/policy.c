/* SPDX-License-Identifier: MIT */
#include "restante/policy.h"

#include <string.h>

/* @return where the value of an attribute goes; NULL: nowhere. Compares lengths
   first: most attributes of a request are not used, and should not delay the
   answer. */
static struct rst_str *find_field(struct rst_policy_request *req,
				  struct rst_str name)
{
#define FIELD(field)                                         \
	if (name.n == sizeof(#field) - 1 &&                  \
	    memcmp(name.p, #field, sizeof(#field) - 1) == 0) \
	return &req->field
	switch (name.n) {
	case 4:
		FIELD(size);
		break;
	case 6:
		FIELD(sender);
		break;
	case 7:
		FIELD(request);
		break;
	case 8:
		FIELD(queue_id);
		FIELD(instance);
		break;
	case 9:
		FIELD(recipient);
		FIELD(helo_name);
		break;
	case 11:
		FIELD(client_name);
		break;
	case 13:
		FIELD(protocol_name);
		FIELD(sasl_username);
		break;
	case 14:
		FIELD(protocol_state);
		FIELD(client_address);
		FIELD(policy_context);
		break;
	case 15:
		FIELD(recipient_count);
		break;
	}
#undef FIELD
	return NULL;
}

/* Values may hold '=': the first one is the separator. */
static int parse_line(struct rst_str line, struct rst_policy_request *req)
{
	const char *equals = memchr(line.p, '=', line.n);
	struct rst_str *field;
	size_t name_len;

	if (equals == NULL)
		return RST_EPROTO;
	name_len = (size_t)(equals - line.p);
	field = find_field(req, (struct rst_str){line.p, name_len});
	if (field != NULL)
		*field = (struct rst_str){equals + 1, line.n - name_len - 1};
	return 0;
}

static void clear(struct rst_policy_request *req)
{
	const struct rst_str none = RST_STR("");

	*req = (struct rst_policy_request){none, none, none, none, none,
					   none, none, none, none, none,
					   none, none, none, none};
}

static ssize_t finish(const struct rst_policy_request *req, const char *buf,
		      size_t used)
{
	if (memchr(buf, '\0', used) != NULL ||
	    !rst_str_eq(req->request, RST_STR("smtpd_access_policy")))
		return RST_EPROTO;
	return (ssize_t)used;
}

ssize_t rst_policy_parse(const char *buf, size_t len,
			 struct rst_policy_request *req_r)
{
	/* octets beyond the limit are ignored, so that the result does not
	   depend on how many of them have come */
	size_t max =
		len < RST_POLICY_REQUEST_MAX ? len : RST_POLICY_REQUEST_MAX;
	size_t used = 0;
	const char *lf;

	clear(req_r);
	while (used < max &&
	       (lf = memchr(buf + used, '\n', max - used)) != NULL) {
		struct rst_str line = {buf + used, (size_t)(lf - buf) - used};

		used += line.n + 1;
		if (line.n == 0)
			return finish(req_r, buf, used);
		if (parse_line(line, req_r) < 0)
			return RST_EPROTO;
	}
	return max == RST_POLICY_REQUEST_MAX ? RST_ELIMIT : 0;
}

/*
 * TOO_LARGE and NO_SUCH_MAILBOX use Postfix's own words (smtpd_check.c), the
 * latter those for a recipient in virtual_mailbox_domains. Postfix puts
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

/* SPDX-License-Identifier: MIT */
/* The commands of the server, which is the SMTP client after the turnaround.
   Every command gets one reply, here or at the end of its octets. */
#include "receiver-private.h"

#include <stdlib.h>

#define OUT_OF_ORDER "503 5.5.1 Not now"
#define BAD_ARGUMENTS "501 5.5.4 Arguments not understood"
#define TOO_LARGE "552 5.3.4 Message too large"

static bool too_large(const struct rst_receiver *r, uint64_t size)
{
	return r->limits.max_message_size > 0 &&
	       size > r->limits.max_message_size;
}

void rst_receiver_ehlo_reply(struct rst_receiver *r)
{
	struct rst_buf text = {0};

	rst_buf_printf(&text,
		       "250-%s\r\n250-PIPELINING\r\n250-CHUNKING\r\n"
		       "250-BINARYMIME\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
		       "250-ENHANCEDSTATUSCODES\r\n250-SIZE",
		       r->limits.hostname);
	if (r->limits.max_message_size > 0)
		rst_buf_printf(&text, " %llu",
			       (unsigned long long)r->limits.max_message_size);
	rst_buf_append(&text, "\r\n250 XRESTANTE", sizeof("\r\n250 XRESTANTE"));
	rst_receiver_reply(r, rst_buf_view(&text).p);
	rst_buf_clear(&text);
}

static int ehlo(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	rst_receiver_reset(r);
	r->greeted = true;
	if (!r->ahead)
		rst_receiver_ehlo_reply(r);
	r->ahead = false;
	return 0;
}

static int helo(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	rst_receiver_reset(r);
	r->greeted = true;
	rst_receiver_reply(r, "250 Good day");
	return 0;
}

static bool id_valid(struct rst_str id)
{
	size_t i;

	for (i = 0; i < id.n; i++) {
		if (id.p[i] <= ' ' || id.p[i] > '~')
			return false;
	}
	return id.n > 0 && id.n <= RST_ID_MAX;
}

/* @return NULL, or the reply to a bad parameter */
static const char *body_param(struct rst_receiver *r, struct rst_str value)
{
	r->binary = rst_str_case_eq(value, RST_STR("BINARYMIME"));
	if (r->binary || rst_str_case_eq(value, RST_STR("8BITMIME")) ||
	    rst_str_case_eq(value, RST_STR("7BIT")))
		return NULL;
	return BAD_ARGUMENTS;
}

static const char *size_param(struct rst_receiver *r, struct rst_str value)
{
	if (!rst_str_to_u64(value, &r->size_said))
		return BAD_ARGUMENTS;
	return too_large(r, r->size_said) ? TOO_LARGE : NULL;
}

static const char *id_param(struct rst_receiver *r, struct rst_str value)
{
	if (!id_valid(value))
		return BAD_ARGUMENTS;
	free(r->id);
	r->id = rst_str_dup(value);
	return NULL;
}

static const char *mail_param(struct rst_receiver *r, struct rst_str keyword,
			      struct rst_str value)
{
	if (rst_str_case_eq(keyword, RST_STR("SIZE")))
		return size_param(r, value);
	if (rst_str_case_eq(keyword, RST_STR("BODY")))
		return body_param(r, value);
	if (rst_str_case_eq(keyword, RST_STR("XRESTANTE")))
		return id_param(r, value);
	if (rst_str_case_eq(keyword, RST_STR("SMTPUTF8")))
		return NULL;
	return "555 5.5.4 Parameter not known";
}

static const char *mail_params(struct rst_receiver *r, struct rst_str params)
{
	struct rst_str keyword, value;
	const char *refused;
	int ret;

	while ((ret = rst_smtp_param_next(&params, &keyword, &value)) > 0) {
		refused = mail_param(r, keyword, value);
		if (refused != NULL)
			return refused;
	}
	return ret < 0 ? BAD_ARGUMENTS : NULL;
}

static int mail(struct rst_receiver *r, struct rst_str args)
{
	struct rst_smtp_path path;
	const char *refused;

	if (!r->greeted || r->mail) {
		rst_receiver_reply(r, OUT_OF_ORDER);
		return 0;
	}
	if (rst_smtp_path_parse(args, RST_STR("FROM:"), &path) < 0) {
		rst_receiver_reply(r, "501 5.1.7 Sender not understood");
		return 0;
	}
	refused = mail_params(r, path.params);
	if (refused != NULL) {
		rst_receiver_reset(r);
		rst_receiver_reply(r, refused);
		return 0;
	}
	r->mail = true;
	r->mail_from = rst_str_dup(path.address);
	rst_receiver_reply(r, "250 2.1.0 Sender ok");
	return 0;
}

static int rcpt(struct rst_receiver *r, struct rst_str args)
{
	struct rst_smtp_path path;

	if (!r->mail || r->open != NULL || r->failed) {
		rst_receiver_reply(r, OUT_OF_ORDER);
		return 0;
	}
	if (rst_smtp_path_parse(args, RST_STR("TO:"), &path) < 0 ||
	    path.address.n == 0) {
		rst_receiver_reply(r, "501 5.1.3 Recipient not understood");
		return 0;
	}
	if (path.params.n > 0) {
		rst_receiver_reply(r, "555 5.5.4 Parameter not known");
		return 0;
	}
	if (!r->rcpt)
		r->rcpt_to = rst_str_dup(path.address);
	r->rcpt = true;
	rst_receiver_reply(r, "250 2.1.5 Recipient ok");
	return 0;
}

static int data(struct rst_receiver *r, struct rst_str args)
{
	if (args.n > 0) {
		rst_receiver_reply(r, BAD_ARGUMENTS);
		return 0;
	}
	/* RFC 3030: neither after BDAT nor for BINARYMIME */
	if (!r->rcpt || r->chunked || r->failed || r->binary) {
		rst_receiver_reply(r, OUT_OF_ORDER);
		return 0;
	}
	rst_receiver_begin(r);
	r->mode = RECEIVER_TEXT;
	r->text = TEXT_LINE_START;
	r->text_too_large = false;
	rst_receiver_reply(r, "354 Go ahead, end with a dot");
	return 0;
}

/* @return NULL, or the reply after the octets of the chunk */
static const char *chunk_refused(struct rst_receiver *r)
{
	if (!r->rcpt || r->failed)
		return OUT_OF_ORDER;
	if (r->chunk_left > UINT64_MAX - r->total ||
	    too_large(r, r->total + r->chunk_left)) {
		rst_receiver_cancel(r);
		r->failed = true;
		return TOO_LARGE;
	}
	return NULL;
}

static int bdat(struct rst_receiver *r, struct rst_str args)
{
	struct rst_str size, last = args;

	if (!rst_str_split(&last, ' ', &size) ||
	    !rst_str_to_u64(size, &r->chunk_left) ||
	    (last.n > 0 && !rst_str_case_eq(last, RST_STR("LAST")))) {
		/* where its octets end, and so the next command begins, is
		   not known */
		rst_receiver_reply(r, BAD_ARGUMENTS);
		return RST_EPROTO;
	}
	r->chunk_last = last.n > 0;
	r->chunk_refused = chunk_refused(r);
	if (r->chunk_refused == NULL) {
		r->total += r->chunk_left;
		r->chunked = true;
		if (r->open == NULL)
			rst_receiver_begin(r);
	}
	r->mode = RECEIVER_CHUNK;
	if (r->chunk_left == 0)
		rst_receiver_chunk_end(r);
	return 0;
}

static int rset(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	rst_receiver_reset(r);
	rst_receiver_reply(r, "250 2.0.0 Forgotten");
	return 0;
}

static int noop(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	rst_receiver_reply(r, "250 2.0.0 Still here");
	return 0;
}

static int vrfy(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	rst_receiver_reply(r, "252 2.5.0 Send mail and see");
	return 0;
}

static int not_offered(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	rst_receiver_reply(r, "502 5.5.1 Not offered");
	return 0;
}

static int quit(struct rst_receiver *r, struct rst_str args)
{
	(void)args;
	r->drained = true;
	rst_receiver_reply(r, "221 2.0.0 Goodbye");
	rst_receiver_closing(r, RST_STR(""));
	return 0;
}

/* ---- XRESTANTE */

static bool summary(struct rst_receiver *r, struct rst_str args)
{
	struct receiver_slot *slot;
	struct rst_str first;
	uint64_t messages, octets;

	if (!rst_str_split(&args, ' ', &first) ||
	    !rst_str_to_u64(first, &messages) || !rst_str_to_u64(args, &octets))
		return false;
	slot = rst_receiver_event(r, RST_RECEIVER_SUMMARY);
	slot->ev.messages = messages;
	slot->ev.total_octets = octets;
	return true;
}

static bool forget(struct rst_receiver *r, struct rst_str args)
{
	struct rst_str rest = args, id;
	unsigned int count = 0;

	while (rst_str_split(&rest, ' ', &id)) {
		if (!id_valid(id) || ++count > RECEIVER_FORGET_MAX)
			return false;
	}
	for (rest = args; rst_str_split(&rest, ' ', &id);)
		rst_receiver_event(r, RST_RECEIVER_FORGET)->a =
			rst_receiver_keep(r, id);
	return count > 0;
}

static int xrestante(struct rst_receiver *r, struct rst_str args)
{
	struct rst_str word;
	bool good = false;

	if (!rst_str_split(&args, ' ', &word)) {
		rst_receiver_reply(r, BAD_ARGUMENTS);
		return 0;
	}
	if (rst_str_case_eq(word, RST_STR("CLOSE"))) {
		rst_receiver_reply(r, "221 2.0.0 Goodbye");
		rst_receiver_closing(r, args);
		return 0;
	}
	if (rst_str_case_eq(word, RST_STR("SUMMARY")))
		good = summary(r, args);
	else if (rst_str_case_eq(word, RST_STR("FORGET")))
		good = forget(r, args);
	rst_receiver_reply(r, good ? "250 2.0.0 Noted" : BAD_ARGUMENTS);
	return 0;
}

static const struct {
	const char *verb;
	int (*carry_out)(struct rst_receiver *r, struct rst_str args);
} commands[] = {
	{"MAIL", mail},
	{"RCPT", rcpt},
	{"BDAT", bdat},
	{"DATA", data},
	{"NOOP", noop},
	{"RSET", rset},
	{"XRESTANTE", xrestante},
	{"EHLO", ehlo},
	{"HELO", helo},
	{"VRFY", vrfy},
	{"QUIT", quit},
	{"AUTH", not_offered},
	{"STARTTLS", not_offered},
	{"EXPN", not_offered},
	{"HELP", not_offered},
	{"ETRN", not_offered},
	{"ATRN", not_offered},
};

int rst_receiver_command(struct rst_receiver *r, struct rst_str line)
{
	struct rst_smtp_command command;
	size_t i;

	if (rst_smtp_command_parse(line, &command) == 0) {
		for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
			if (rst_str_case_eq(command.verb,
					    rst_str(commands[i].verb)))
				return commands[i].carry_out(r, command.args);
		}
	}
	rst_receiver_reply(r, "500 5.5.2 Command not known");
	return 0;
}

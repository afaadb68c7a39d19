/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* memmem() */
#endif
#include "lib.h"
#include "guid.h"
#include "istream.h"
#include "istream-concat.h"
#include "istream-crlf.h"
#include "message-date.h"
#include "message-header-parser.h"
#include "sha2.h"
#include "crlf.h"
#include "digest.h"
#include "hold.h"
#include "mailbox.h"
#include "save.h"

#include <ctype.h>

/* octets in which a proxy's fields are looked for */
#define PROXY_MAX 4096
/* for the last try, which may begin a little later, and for clocks */
#define SLACK_SECS (24 * 3600)

static int read_failed(struct istream *input, const char **error_r)
{
	*error_r =
		t_strdup_printf("read(%s) failed: %s", i_stream_get_name(input),
				i_stream_get_error(input));
	return -1;
}

/* ---- what LMTP put on top */

/* @return how many octets of data are text, whose line ends are CRLF, in either
   form; 0: data has something else */
static size_t match_lines(const char *text, const unsigned char *data,
			  size_t size, bool *lf_r)
{
	size_t i = 0;

	*lf_r = strchr(text, '\n') != NULL;
	for (; *text != '\0'; text++) {
		if (text[0] == '\r' && text[1] == '\n' && i < size &&
		    data[i] == '\n')
			continue;
		if (i == size || data[i] != (unsigned char)*text)
			return 0;
		if (*text == '\r' && text[1] == '\n')
			*lf_r = FALSE;
		i++;
	}
	return i;
}

/* Count the lines of the leading fields that the next system writes anew. A
   folded line belongs to the field above it. */
static unsigned int count_own(const char *text)
{
	unsigned int lines = 0;
	bool own = FALSE;

	while (*text != '\0') {
		if (*text != ' ' && *text != '\t')
			own = strncasecmp(text, "Return-Path:", 12) == 0 ||
			      strncasecmp(text, "Delivered-To:", 13) == 0;
		if (!own)
			break;
		lines++;
		text = strchr(text, '\n');
		if (text++ == NULL)
			break;
	}
	return lines;
}

static unsigned int count_lines(const char *text)
{
	unsigned int lines = 0;

	for (; *text != '\0'; text++)
		if (*text == '\n')
			lines++;
	return lines;
}

int rst_trace_find(const struct rst_delivery *delivery,
		   struct rst_trace *trace_r, const char **error_r)
{
	const char *text = delivery->trace;
	const unsigned char *data;
	size_t size;

	i_zero(trace_r);
	if (text == NULL || *text == '\0')
		return 0;
	i_stream_seek(delivery->input, 0);
	if (i_stream_read_bytes(delivery->input, &data, &size, strlen(text)) <
		    0 &&
	    delivery->input->stream_errno != 0)
		return read_failed(delivery->input, error_r);
	trace_r->octets = match_lines(text, data, size, &trace_r->lf);
	if (trace_r->octets == 0) {
		trace_r->lf = FALSE;
		return 0;
	}
	trace_r->lines = count_lines(text);
	trace_r->own_lines = count_own(text);
	return 0;
}

/* ---- what a proxy put below that */

/* @return octets of the field at the start of text, with its folded lines; 0:
   its end is not there */
static size_t field_size(const char *text, size_t size)
{
	const char *end = text, *lf;

	while ((lf = memchr(end, '\n', size - (end - text))) != NULL) {
		end = lf + 1;
		if ((size_t)(end - text) == size)
			return 0;
		if (*end != ' ' && *end != '\t')
			return end - text;
	}
	return 0;
}

/* Of a Received field: does it say "with LMTP", LMTPS, ...? */
static bool is_of_lmtp(const char *text, size_t size)
{
	static const char with[] = "with LMTP";
	const size_t len = sizeof(with) - 1;
	size_t i;

	for (i = 1; i + len <= size; i++)
		if (i_isspace(text[i - 1]) &&
		    strncasecmp(text + i, with, len) == 0)
			return TRUE;
	return FALSE;
}

/*
 * An LMTP server in front of this one puts its own fields on top, which are new
 * in each of Postfix's tries.
 *
 * @param text with LF for CRLF
 * @return lines of the fields on top down to the last Received field of LMTP's;
 *         0: there is none
 */
static unsigned int count_proxy_lines(const char *text, size_t size)
{
	unsigned int lines = 0, upto = 0;
	size_t n, i;

	while ((n = field_size(text, size)) > 0) {
		bool received = n > 9 && strncasecmp(text, "Received:", 9) == 0;

		if (received && !is_of_lmtp(text, n))
			break;
		if (!received &&
		    (n < 13 || (strncasecmp(text, "Return-Path:", 12) != 0 &&
				strncasecmp(text, "Delivered-To:", 13) != 0)))
			break;
		for (i = 0; i < n; i++)
			lines += text[i] == '\n';
		if (received)
			upto = lines;
		text += n;
		size -= n;
	}
	return upto;
}

/* @param input where the fields begin, with LF for CRLF; stays there */
static unsigned int find_proxy_lines(struct istream *input)
{
	const unsigned char *data;
	size_t size;

	/* what is there is enough: at the end of it no field is taken */
	(void)i_stream_read_bytes(input, &data, &size, PROXY_MAX);
	return count_proxy_lines((const char *)data, size);
}

/* ---- its key and its size */

/* Dovecot drops the CRs at the very end where it makes LF of CRLF. */
struct counter {
	uoff_t octets;
	uoff_t last_crs;
};

static void count_octets(struct counter *counter, const unsigned char *data,
			 size_t size)
{
	size_t last = size;

	while (last > 0 && data[last - 1] == '\r')
		last--;
	counter->last_crs = last == 0 ? counter->last_crs + size : size - last;
	counter->octets += size + rst_count_lf(data, size);
}

/* input has LF for CRLF. */
static int hash_stream(struct istream *input, struct sha256_ctx *hash,
		       struct rst_digest *digest, uoff_t *octets_r,
		       const char **error_r)
{
	struct counter counter = {0, 0};
	const unsigned char *data;
	size_t size;

	while (i_stream_read_more(input, &data, &size) > 0) {
		sha256_loop(hash, data, size);
		rst_digest_update(digest, data, size);
		count_octets(&counter, data, size);
		i_stream_skip(input, size);
	}
	*octets_r = counter.octets - counter.last_crs;
	return input->stream_errno == 0 ? 0 : read_failed(input, error_r);
}

/* K = SHA-256(recipient, NUL, the message below its trace, and below a proxy's,
   with LF ends). The octets are those below the trace, as struct rst_envelope
   counts them. */
static int hash_delivery(struct rst_delivery *delivery, const char **error_r)
{
	struct sha256_ctx hash;
	uoff_t above;
	struct istream *input;
	int ret;

	sha256_init(&hash);
	sha256_loop(&hash, delivery->rcpt_to, strlen(delivery->rcpt_to) + 1);
	rst_digest_init(&delivery->digest, FALSE);
	i_stream_seek(delivery->input, 0);
	if (delivery->found.lf) {
		/* CRLF was made LF already: a CR that is left is the message's
		   own */
		input = delivery->input;
		i_stream_ref(input);
	} else {
		input = i_stream_create_lf(delivery->input);
	}
	/* what cannot be read here, hash_stream() cannot read either */
	(void)rst_crlf_skip_lines(input, delivery->found.lines,
				  &delivery->digest, &above);
	(void)rst_crlf_skip_lines(input, find_proxy_lines(input),
				  &delivery->digest, &above);
	ret = hash_stream(input, &hash, &delivery->digest, &delivery->octets,
			  error_r);
	delivery->octets += above;
	i_stream_unref(&input);
	sha256_result(&hash, delivery->key);
	return ret;
}

/* ---- does it count? */

static size_t skip_quoted(const unsigned char *text, size_t i, size_t size,
			  char end)
{
	unsigned int depth = 1;

	for (i++; i < size && depth > 0; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == end)
			depth--;
		else if (end == ')' && text[i] == '(')
			depth++;
	}
	return I_MIN(i, size);
}

/* Go to the ';' before the date. @return is there, outside of comments and
   before the date, an "id" clause? */
static bool has_queue_id(const unsigned char *text, size_t size,
			 size_t *date_at_r)
{
	bool after_id = FALSE, found = FALSE;
	size_t i = 0, start;

	while (i < size && text[i] != ';') {
		if (text[i] == '(' || text[i] == '"') {
			i = skip_quoted(text, i, size,
					text[i] == '(' ? ')' : '"');
			continue;
		}
		if (text[i] <= ' ') {
			i++;
			continue;
		}
		for (start = i; i < size && text[i] > ' ' && text[i] != ';' &&
				text[i] != '(' && text[i] != '"';)
			i++;
		found = found || after_id;
		after_id =
			i - start == 2 &&
			strncasecmp((const char *)text + start, "id", 2) == 0;
	}
	*date_at_r = i;
	return found;
}

/* Has the message been in Postfix's queue for longer than Postfix keeps one?
   Then this delivery is none of Postfix's: a stored message comes back. */
static bool is_old(const struct rst_delivery *delivery,
		   const unsigned char *text, size_t size, size_t date_at)
{
	time_t queued;
	int tz;

	if (date_at >= size ||
	    !message_date_parse(text + date_at + 1, size - date_at - 1, &queued,
				&tz))
		return FALSE;
	return queued + (time_t)delivery->queue_lifetime_secs + SLACK_SECS <
	       delivery->arrived.tv_sec;
}

static bool is_blank(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "by host (Restante)": the client's field, or that of fallback delivery. The
   message was stored, and comes back: Postfix's own field is above what Postfix
   delivers. A sender can have that text behind "from" only. */
static bool is_of_restante(const unsigned char *text, size_t size)
{
	static const char comment[] = " (Restante)";
	const unsigned char *at =
		memmem(text, size, comment, sizeof(comment) - 1);
	size_t i;

	if (at == NULL)
		return FALSE;
	i = (size_t)(at - text);
	while (i > 0 && !is_blank(text[i - 1]))
		i--;
	while (i > 0 && is_blank(text[i - 1]))
		i--;
	return i >= 2 && memcmp(text + i - 2, "by", 2) == 0 &&
	       (i == 2 || is_blank(text[i - 3]));
}

/* Says the topmost Received field, whatever is above it, that another delivery
   of the same message is Postfix's next try? */
static bool is_postfix_try(const struct rst_delivery *delivery)
{
	struct message_header_parser_ctx *parser;
	struct message_header_line *hdr;
	bool found = FALSE;
	size_t date_at;

	parser = message_parse_header_init(delivery->input, NULL, 0);
	while (message_parse_header_next(parser, &hdr) > 0 && !hdr->eoh) {
		if (strcasecmp(hdr->name, "Received") != 0)
			continue;
		if (hdr->continues) {
			hdr->use_full_value = TRUE;
			continue;
		}
		/* a proxy's */
		if (is_of_lmtp((const char *)hdr->full_value,
			       hdr->full_value_len))
			continue;
		found = has_queue_id(hdr->full_value, hdr->full_value_len,
				     &date_at) &&
			!is_of_restante(hdr->full_value, hdr->full_value_len) &&
			!is_old(delivery, hdr->full_value, hdr->full_value_len,
				date_at);
		break;
	}
	message_parse_header_deinit(&parser);
	return found;
}

/* @return octets of text when each of its lines ends in CRLF */
static size_t crlf_length(const char *text)
{
	size_t octets = 0;

	for (; *text != '\0'; text++)
		if (text[0] != '\r' || text[1] != '\n')
			octets += *text == '\n' ? 2 : 1;
	return octets;
}

int rst_delivery_prepare(struct rst_delivery *delivery, const char **error_r)
{
	if (rst_trace_find(delivery, &delivery->found, error_r) < 0 ||
	    hash_delivery(delivery, error_r) < 0)
		return -1;
	if (delivery->found.octets > 0)
		delivery->octets += crlf_length(delivery->trace);
	i_stream_seek(delivery->input, delivery->found.octets);
	if (!is_postfix_try(delivery))
		memset(delivery->key, 0, RST_KEY_SIZE);
	i_stream_seek(delivery->input, 0);
	return 0;
}

/* ---- saving */

static struct istream *create_input(const struct rst_delivery *delivery,
				    const char *envelope, size_t envelope_len)
{
	struct istream *parts[3], *input;

	i_stream_seek(delivery->input, 0);
	parts[0] = i_stream_create_from_data(envelope, envelope_len);
	if (delivery->found.lf) {
		/* saving makes LF of CRLF once more */
		parts[1] = rst_crlf_istream(delivery->input, UOFF_T_MAX);
	} else {
		parts[1] = delivery->input;
		i_stream_ref(parts[1]);
	}
	parts[2] = NULL;
	input = i_stream_create_concat(parts);
	i_stream_unref(&parts[0]);
	i_stream_unref(&parts[1]);
	return input;
}

static void set_digest(struct rst_envelope *env,
		       const struct rst_digest *digest)
{
	struct rst_str covered;
	char *text = rst_envelope_covered(env, &covered.n);

	if (text == NULL)
		return; /* nor can the field be made */
	covered.p = text;
	rst_digest_result(digest, covered, env->digest);
	env->has_digest = TRUE;
	free(text);
}

static int format_envelope(const struct rst_delivery *delivery, const char *id,
			   char **text_r, size_t *len_r, const char **error_r)
{
	struct rst_envelope env = {
		.id = rst_str(id),
		.arrived_us = (int64_t)delivery->arrived.tv_sec * 1000000 +
			      delivery->arrived.tv_usec,
		.mail_from = rst_str(delivery->mail_from),
		.rcpt_to = rst_str(delivery->rcpt_to),
		.mail_params = rst_str(delivery->mail_params),
		.rcpt_params = rst_str(delivery->rcpt_params),
		.trace_lines = delivery->found.lines,
		.own_lines = delivery->found.own_lines,
		.has_octets = true,
		.octets = delivery->octets,
	};

	memcpy(env.key, delivery->key, RST_KEY_SIZE);
	set_digest(&env, &delivery->digest);
	*text_r = rst_envelope_format(&env, len_r);
	if (*text_r != NULL)
		return 0;
	*error_r = "the envelope is too large";
	return -1;
}

int rst_hold_save(struct rst_hold *hold, const struct rst_delivery *delivery,
		  struct rst_saved *saved_r, const char **error_r)
{
	struct istream *input;
	guid_128_t guid;
	char *envelope;
	size_t len;
	int ret;

	i_zero(saved_r);
	guid_128_generate(guid);
	saved_r->id = guid_128_to_string(guid);
	if (format_envelope(delivery, saved_r->id, &envelope, &len, error_r) <
	    0)
		return -1;
	input = create_input(delivery, envelope, len);
	ret = rst_mailbox_save(hold->box, input, delivery->arrived.tv_sec,
			       &saved_r->uid, error_r);
	saved_r->size = input->v_offset - I_MIN(input->v_offset, len);
	i_stream_unref(&input);
	free(envelope);
	i_stream_seek(delivery->input, 0);
	return ret;
}

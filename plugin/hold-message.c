/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "guid.h"
#include "istream.h"
#include "mail-storage.h"
#include "hold-crlf.h"
#include "hold-message.h"

/* more than an envelope, so that its parser sees a whole one */
#define HEAD_MAX (RST_ENVELOPE_MAX + 4096)

static const char *mail_error(struct mail *mail)
{
	return t_strdup(mailbox_get_last_internal_error(mail->box, NULL));
}

/* ---- the envelope */

/*
 * A message that is nothing but its envelope has no line after it that would
 * tell the field's end.
 */
static ssize_t parse_at_end(const unsigned char *data, size_t size,
			    struct rst_envelope *env_r, char **storage_r)
{
	char *whole = t_malloc_no0(size + 1);

	memcpy(whole, data, size);
	whole[size] = '\n';
	return rst_envelope_parse(whole, size + 1, env_r, storage_r);
}

/*
 * @return octets of the envelope at the start of input, which are not
 *         skipped; 0: there is no valid one; -1: read error
 */
static ssize_t read_envelope(struct istream *input, struct rst_envelope *env_r,
			     char **storage_r)
{
	const unsigned char *data;
	size_t size = 0;
	ssize_t n = 0;
	int ret;

	if (i_stream_get_max_buffer_size(input) < HEAD_MAX)
		i_stream_set_max_buffer_size(input, HEAD_MAX);
	while (n == 0 &&
	       (ret = i_stream_read_data(input, &data, &size, size)) > 0)
		n = rst_envelope_parse((const char *)data, size, env_r,
				       storage_r);
	if (input->stream_errno != 0)
		return -1;
	if (n == 0 && size > 0 && ret != -2)
		n = parse_at_end(data, size, env_r, storage_r);
	return I_MAX(n, 0);
}

static void use_envelope(struct rst_held *held, const struct rst_envelope *env)
{
	held->id = i_strndup(env->id.p, env->id.n);
	memcpy(held->key, env->key, RST_KEY_SIZE);
	held->mail_from = i_strndup(env->mail_from.p, env->mail_from.n);
	held->rcpt_to = i_strndup(env->rcpt_to.p, env->rcpt_to.n);
	held->arrived = (time_t)(env->arrived_us / 1000000);
}

static int make_envelope(struct mail *mail, const char *username,
			 struct rst_held *held, const char **error_r)
{
	const char *guid;
	guid_128_t hash;

	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0) {
		*error_r = mail_error(mail);
		return -1;
	}
	/* a guid may hold what an id may not */
	mail_generate_guid_128_hash(guid, hash);
	held->id = i_strdup(guid_128_to_string(hash));
	held->mail_from = i_strdup("");
	held->rcpt_to = i_strdup(username);
	held->arrived = held->received;
	return 0;
}

/* ---- the cut */

static int skip_lines(struct istream *input, unsigned int lines)
{
	const unsigned char *data, *lf;
	size_t size;

	while (lines > 0 && i_stream_read_more(input, &data, &size) > 0) {
		lf = memchr(data, '\n', size);
		if (lf != NULL) {
			size = lf + 1 - data;
			lines--;
		}
		i_stream_skip(input, size);
	}
	return input->stream_errno == 0 ? 0 : -1;
}

/* Does the first line of input, which is at its start, end in LF alone? */
static bool first_line_is_lf(struct istream *input)
{
	const unsigned char *data, *lf = NULL;
	size_t size;
	bool cr = FALSE;

	while (lf == NULL && i_stream_read_more(input, &data, &size) > 0) {
		lf = memchr(data, '\n', size);
		if (lf != NULL)
			size = lf - data;
		if (size > 0)
			cr = data[size - 1] == '\r';
		i_stream_skip(input, size);
	}
	i_stream_seek(input, 0);
	return !cr;
}

/* From here on to the end, with CRLF. */
static int open_rest(struct istream *input, bool lf, struct rst_held *held)
{
	uoff_t start = input->v_offset, end;
	struct istream *rest;

	if (!lf) {
		if (i_stream_get_size(input, TRUE, &end) <= 0 || end < start)
			return -1;
		held->size = end - start;
		held->input = i_stream_create_limit(input, held->size);
		return 0;
	}
	if (rst_crlf_size(input, &held->size) < 0)
		return -1;
	i_stream_seek(input, start);
	rest = i_stream_create_limit(input, UOFF_T_MAX);
	held->input = rst_crlf_istream(rest, held->size);
	i_stream_unref(&rest);
	return 0;
}

/* Does the envelope of n octets, which is in input's buffer, end in LF? */
static bool is_lf(struct istream *input, size_t n)
{
	size_t size;
	const unsigned char *data = i_stream_get_data(input, &size);

	i_assert(n >= 2 && n <= size);
	return data[n - 2] != '\r';
}

static int read_failed(struct istream *input, const char **error_r)
{
	*error_r =
		t_strdup_printf("read(%s) failed: %s", i_stream_get_name(input),
				i_stream_get_error(input));
	return -1;
}

/* @param lf_r  do lines end in LF alone?
   @param own_r lines below the envelope that are cut off with it */
static int read_head(struct mail *mail, struct istream *input,
		     const char *username, struct rst_held *held, bool *lf_r,
		     unsigned int *own_r, const char **error_r)
{
	struct rst_envelope env;
	char *storage = NULL;
	ssize_t n;

	n = read_envelope(input, &env, &storage);
	if (n < 0)
		return read_failed(input, error_r);
	*own_r = 0;
	if (n == 0) {
		*lf_r = first_line_is_lf(input);
		return make_envelope(mail, username, held, error_r);
	}
	*lf_r = is_lf(input, (size_t)n);
	*own_r = env.own_lines;
	use_envelope(held, &env);
	i_stream_skip(input, (size_t)n);
	free(storage);
	return 0;
}

/* @return 1, 0: expunged, -1 */
static int begin(struct mail *mail, struct rst_held *held_r,
		 struct istream **input_r, const char **error_r)
{
	i_zero(held_r);
	held_r->uid = mail->uid;
	if (mail_get_received_date(mail, &held_r->received) < 0 ||
	    mail_get_stream(mail, NULL, NULL, input_r) < 0) {
		*error_r = mail_error(mail);
		return mail->expunged ? 0 : -1;
	}
	i_stream_seek(*input_r, 0);
	return 1;
}

static int end(struct mail *mail, struct rst_held *held, int ret)
{
	if (ret == 0)
		return 1;
	rst_held_clear(held);
	return mail->expunged ? 0 : -1;
}

int rst_held_envelope(struct mail *mail, const char *username,
		      struct rst_held *held_r, const char **error_r)
{
	struct istream *input;
	unsigned int own;
	bool lf;
	int ret;

	ret = begin(mail, held_r, &input, error_r);
	if (ret <= 0)
		return ret;
	ret = read_head(mail, input, username, held_r, &lf, &own, error_r);
	return end(mail, held_r, ret);
}

int rst_held_read(struct mail *mail, const char *username,
		  struct rst_held *held_r, const char **error_r)
{
	struct istream *input;
	unsigned int own;
	bool lf;
	int ret;

	ret = begin(mail, held_r, &input, error_r);
	if (ret <= 0)
		return ret;
	ret = read_head(mail, input, username, held_r, &lf, &own, error_r);
	if (ret == 0 &&
	    (skip_lines(input, own) < 0 || open_rest(input, lf, held_r) < 0))
		ret = read_failed(input, error_r);
	return end(mail, held_r, ret);
}

void rst_held_clear(struct rst_held *held)
{
	i_stream_unref(&held->input);
	i_free(held->id);
	i_free(held->mail_from);
	i_free(held->rcpt_to);
	i_zero(held);
}

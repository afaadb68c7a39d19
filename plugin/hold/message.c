/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "guid.h"
#include "istream.h"
#include "mail-storage.h"
#include "crlf.h"
#include "digest.h"
#include "mailbox.h"
#include "message.h"

/* The envelope, as it stands on top of the message. */
struct head {
	bool lf;          /* do the message's lines end in LF alone? */
	unsigned int own; /* lines below it that are cut off with it */
	bool has_digest;
	unsigned char digest[RST_DIGEST_SIZE];
	struct rst_str covered;
	char *storage; /* of covered */
};

/* more than an envelope, so that its parser sees a whole one */
#define HEAD_MAX (RST_ENVELOPE_MAX + 4096)

/* ---- the envelope */

/*
 * A message that has nothing below its envelope has no line there that would
 * tell the end of the field.
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

static void use_envelope(struct rst_message *message,
			 const struct rst_envelope *env)
{
	message->id = i_strndup(env->id.p, env->id.n);
	memcpy(message->key, env->key, RST_KEY_SIZE);
	message->mail_from = i_strndup(env->mail_from.p, env->mail_from.n);
	message->rcpt_to = i_strndup(env->rcpt_to.p, env->rcpt_to.n);
	message->arrived = (time_t)(env->arrived_us / 1000000);
	if (env->has_octets)
		message->expected = env->octets;
}

static int make_envelope(struct mail *mail, const char *username,
			 struct rst_message *message, const char **error_r)
{
	const char *guid;
	guid_128_t hash;

	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0) {
		*error_r = rst_mailbox_error(mail->box);
		return -1;
	}
	/* a guid may hold what an id may not */
	mail_generate_guid_128_hash(guid, hash);
	message->id = i_strdup(guid_128_to_string(hash));
	message->mail_from = i_strdup("");
	message->rcpt_to = i_strdup(username);
	message->arrived = message->received;
	return 0;
}

/* ---- the cut */

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

/* Read input to its end. @param size_r of the rest, with CRLF */
static int measure_rest(struct istream *input, bool lf,
			struct rst_digest *digest, uoff_t *size_r)
{
	uoff_t start = input->v_offset;

	if (rst_crlf_size(input, digest, size_r) < 0)
		return -1;
	if (!lf)
		*size_r = input->v_offset - start;
	return 0;
}

static bool is_digest(const struct head *head, const struct rst_digest *digest)
{
	unsigned char result[RST_DIGEST_SIZE];

	rst_digest_result(digest, head->covered, result);
	return memcmp(result, head->digest, RST_DIGEST_SIZE) == 0;
}

/* Open the rest of input, from its present offset, with CRLF. What is proved to
   be the message now is proved once more while it is read: input may come from
   the disk again. @param digest of what is above the rest */
static struct istream *open_rest(struct istream *input, const struct head *head,
				 const struct rst_digest *digest,
				 const struct rst_message *message)
{
	struct istream *rest, *parent;

	rest = i_stream_create_limit(input, UOFF_T_MAX);
	if (head->has_digest && !message->incomplete) {
		parent = rest;
		rest = rst_digest_istream(parent, digest, head->covered,
					  head->digest);
		i_stream_unref(&parent);
	}
	parent = rest;
	rest = head->lf ? rst_crlf_istream(parent, message->size)
			: i_stream_create_limit(parent, message->size);
	i_stream_unref(&parent);
	return rest;
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

/* ---- is it whole? */

/* @return 1, 0, -1 */
static int ends_in_crs(struct istream *input, uoff_t end, uoff_t count)
{
	const unsigned char *data;
	size_t size, i;

	if (count > end)
		return 0;
	i_stream_seek(input, end - count);
	while (i_stream_read_more(input, &data, &size) > 0) {
		for (i = 0; i < size; i++)
			if (data[i] != '\r')
				return 0;
		i_stream_skip(input, size);
	}
	return input->stream_errno == 0 ? 1 : -1;
}

/* @param own octets below the envelope that are cut off with it */
static int check_whole(struct istream *input, uoff_t own, uoff_t end,
		       struct rst_message *message)
{
	int ret = 0;

	message->octets = own + message->size;
	if (message->expected == UOFF_T_MAX ||
	    message->octets == message->expected)
		return 0;
	if (message->octets > message->expected)
		ret = ends_in_crs(input, end,
				  message->octets - message->expected);
	message->incomplete = ret == 0;
	return ret;
}

/* ---- reading */

/* There is no valid envelope; where the message begins with a damaged one, its
   K is of use. */
static void check_damaged(struct rst_message *message,
			  const unsigned char *data, size_t size)
{
	struct rst_envelope env;
	char *storage;
	size_t start;

	message->incomplete = TRUE;
	if (!rst_envelope_is_cut((const char *)data, size, &start) ||
	    start == size ||
	    rst_envelope_parse((const char *)data + start, size - start, &env,
			       &storage) <= 0)
		return;
	memcpy(message->key, env.key, RST_KEY_SIZE);
	free(storage);
}

static void use_head(struct head *head, const struct rst_envelope *env)
{
	head->own = env->own_lines;
	head->has_digest = env->has_digest;
	memcpy(head->digest, env->digest, RST_DIGEST_SIZE);
	head->covered = env->covered;
}

/* @param head_r its storage is to be freed, whatever is returned */
static int read_head(struct mail *mail, struct istream *input,
		     const char *username, struct rst_message *message,
		     struct head *head_r, const char **error_r)
{
	struct rst_envelope env;
	const unsigned char *data;
	size_t size;
	ssize_t n;

	i_zero(head_r);
	n = read_envelope(input, &env, &head_r->storage);
	if (n < 0)
		return read_failed(input, error_r);
	message->expected = UOFF_T_MAX;
	data = i_stream_get_data(input, &size);
	if (n == 0) {
		check_damaged(message, data, size);
		head_r->lf = first_line_is_lf(input);
		return make_envelope(mail, username, message, error_r);
	}
	head_r->lf = is_lf(input, (size_t)n);
	use_head(head_r, &env);
	use_envelope(message, &env);
	message->head = n + (head_r->lf ? rst_count_lf(data, n) : 0);
	i_stream_skip(input, (size_t)n);
	return 0;
}

/* @return 1, 0: expunged, -1 */
static int begin(struct mail *mail, struct rst_message *message_r,
		 struct istream **input_r, const char **error_r)
{
	i_zero(message_r);
	message_r->uid = mail->uid;
	if (mail_get_received_date(mail, &message_r->received) < 0 ||
	    mail_get_stream(mail, NULL, NULL, input_r) < 0) {
		*error_r = rst_mailbox_error(mail->box);
		return mail->expunged ? 0 : -1;
	}
	i_stream_seek(*input_r, 0);
	return 1;
}

static int end(struct mail *mail, struct rst_message *message, int ret)
{
	if (ret == 0)
		return 1;
	rst_message_clear(message);
	return mail->expunged ? 0 : -1;
}

/* Has a reader of the whole message seen that it is incomplete? */
static bool is_marked(struct mail *mail)
{
	return (mail_get_flags(mail) & MAIL_FLAGGED) != 0;
}

int rst_message_envelope(struct mail *mail, const char *username,
			 struct rst_message *message_r, const char **error_r)
{
	struct istream *input;
	struct head head;
	int ret;

	ret = begin(mail, message_r, &input, error_r);
	if (ret <= 0)
		return ret;
	ret = read_head(mail, input, username, message_r, &head, error_r);
	free(head.storage);
	if (is_marked(mail))
		message_r->incomplete = TRUE;
	return end(mail, message_r, ret);
}

static int read_rest(struct istream *input, const struct head *head,
		     struct rst_message *message)
{
	struct rst_digest above, digest;
	uoff_t body = input->v_offset, own_octets, start, end_offset;

	rst_digest_init(&above, !head->lf);
	if (rst_crlf_skip_lines(input, head->own, &above, &own_octets) < 0)
		return -1;
	if (!head->lf)
		own_octets = input->v_offset - body;
	start = input->v_offset;
	digest = above;
	if (measure_rest(input, head->lf, &digest, &message->size) < 0)
		return -1;
	end_offset = input->v_offset;
	if (check_whole(input, own_octets, end_offset, message) < 0)
		return -1;
	if (!message->incomplete && head->has_digest &&
	    !is_digest(head, &digest))
		message->damaged = message->incomplete = TRUE;
	i_stream_seek(input, start);
	message->input = open_rest(input, head, &above, message);
	return 0;
}

int rst_message_read(struct mail *mail, const char *username,
		     struct rst_message *message_r, const char **error_r)
{
	struct istream *input;
	struct head head;
	int ret;

	ret = begin(mail, message_r, &input, error_r);
	if (ret <= 0)
		return ret;
	ret = read_head(mail, input, username, message_r, &head, error_r);
	if (ret == 0 && read_rest(input, &head, message_r) < 0)
		ret = read_failed(input, error_r);
	free(head.storage);
	return end(mail, message_r, ret);
}

void rst_message_mark(struct mail *mail, const struct rst_message *message)
{
	if (message->incomplete != is_marked(mail))
		mail_update_flags(
			mail, message->incomplete ? MODIFY_ADD : MODIFY_REMOVE,
			MAIL_FLAGGED);
}

int rst_message_is_whole(struct mail *mail, const char *username,
			 const struct rst_message *message)
{
	struct rst_message again;
	const char *error;
	uoff_t size;
	bool whole;

	if (message->incomplete)
		return 0;
	/* the mailbox counts one octet less for each CR CR LF, and then the two
	   differ, as they always do for part of a message */
	if (message->expected == UOFF_T_MAX ||
	    (mail_get_virtual_size(mail, &size) == 0 &&
	     size == message->head + message->expected))
		return 1;
	if (rst_message_read(mail, username, &again, &error) <= 0)
		return -1;
	whole = !again.incomplete;
	rst_message_clear(&again);
	return whole ? 1 : 0;
}

const unsigned char *rst_message_key(const struct rst_message *message)
{
	static const unsigned char none[RST_KEY_SIZE];

	return message->incomplete ? none : message->key;
}

void rst_message_clear(struct rst_message *message)
{
	i_stream_unref(&message->input);
	i_free(message->id);
	i_free(message->mail_from);
	i_free(message->rcpt_to);
	i_zero(message);
}

/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "istream-private.h"
#include "digest.h"

/* ---- octets */

void rst_digest_init(struct rst_digest *digest, bool crlf)
{
	i_zero(digest);
	sha256_init(&digest->sha);
	digest->crlf = crlf;
}

static void add_crs(struct rst_digest *digest)
{
	for (; digest->crs > 0; digest->crs--)
		sha256_loop(&digest->sha, "\r", 1);
}

/* Add octets of which those at the end may be CRs that do not count. */
static void add(struct rst_digest *digest, const unsigned char *data,
		size_t size)
{
	size_t text = size;

	while (text > 0 && data[text - 1] == '\r')
		text--;
	if (text > 0) {
		add_crs(digest);
		sha256_loop(&digest->sha, data, text);
	}
	digest->crs += size - text;
}

void rst_digest_update(struct rst_digest *digest, const unsigned char *data,
		       size_t size)
{
	const unsigned char *lf, *end = data + size;

	if (!digest->crlf) {
		add(digest, data, size);
		return;
	}
	while ((lf = memchr(data, '\n', end - data)) != NULL) {
		add(digest, data, lf - data);
		if (digest->crs > 0)
			digest->crs--;
		add(digest, lf, 1);
		data = lf + 1;
	}
	add(digest, data, end - data);
}

void rst_digest_result(const struct rst_digest *digest, struct rst_str covered,
		       unsigned char result_r[RST_DIGEST_SIZE])
{
	struct sha256_ctx sha = digest->sha;

	sha256_loop(&sha, covered.p, covered.n);
	sha256_result(&sha, result_r);
}

/* ---- a stream of them */

struct digest_istream {
	struct istream_private istream;
	struct rst_digest digest;
	char *covered;
	size_t covered_len;
	unsigned char wanted[RST_DIGEST_SIZE];
};

static bool is_wanted(const struct digest_istream *stream)
{
	const struct rst_str covered = {stream->covered, stream->covered_len};
	unsigned char result[RST_DIGEST_SIZE];

	rst_digest_result(&stream->digest, covered, result);
	return memcmp(result, stream->wanted, RST_DIGEST_SIZE) == 0;
}

static ssize_t fail(struct istream_private *stream)
{
	stream->istream.stream_errno = EIO;
	io_stream_set_error(&stream->iostream,
			    "its octets have changed since it was saved");
	return -1;
}

/* One octet is kept back until it is known whether more follow. */
static ssize_t digest_read(struct istream_private *stream)
{
	struct digest_istream *dstream =
		container_of(stream, struct digest_istream, istream);
	struct istream *parent = stream->parent;
	const unsigned char *data;
	size_t size, n, room;
	int ret = i_stream_read_data(parent, &data, &size, 1);

	if (ret == 0)
		return 0;
	if (parent->stream_errno != 0 || size == 0) {
		stream->istream.stream_errno = parent->stream_errno;
		stream->istream.eof = parent->eof;
		return -1;
	}
	n = ret < 0 ? size : size - 1;
	if (!i_stream_try_alloc(stream, n, &room))
		return -2;
	n = I_MIN(n, room);
	rst_digest_update(&dstream->digest, data, n);
	if (n == size && !is_wanted(dstream))
		return fail(stream);
	memcpy(stream->w_buffer + stream->pos, data, n);
	stream->pos += n;
	i_stream_skip(parent, n);
	return (ssize_t)n;
}

static void digest_destroy(struct iostream_private *iostream)
{
	struct digest_istream *dstream =
		container_of(iostream, struct digest_istream, istream.iostream);

	i_free(dstream->covered);
	i_stream_free_buffer(&dstream->istream);
	i_stream_unref(&dstream->istream.parent);
}

struct istream *rst_digest_istream(struct istream *input,
				   const struct rst_digest *digest,
				   struct rst_str covered,
				   const unsigned char wanted[RST_DIGEST_SIZE])
{
	struct digest_istream *dstream = i_new(struct digest_istream, 1);

	dstream->digest = *digest;
	dstream->covered = i_strndup(covered.p, covered.n);
	dstream->covered_len = covered.n;
	memcpy(dstream->wanted, wanted, RST_DIGEST_SIZE);
	dstream->istream.max_buffer_size = input->real_stream->max_buffer_size;
	dstream->istream.read = digest_read;
	dstream->istream.iostream.destroy = digest_destroy;
	dstream->istream.istream.blocking = input->blocking;
	dstream->istream.istream.seekable = FALSE;
	return i_stream_create(&dstream->istream, input, i_stream_get_fd(input),
			       0);
}

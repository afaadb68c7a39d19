/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "istream-private.h"
#include "crlf.h"
#include "digest.h"

struct crlf_istream {
	struct istream_private istream;

	uoff_t size; /* of the output; UOFF_T_MAX: not known */
	/* the CR of the LF that comes next has been written */
	bool cr_written;
};

static ssize_t read_parent(struct istream_private *stream)
{
	ssize_t ret;

	if (i_stream_get_data_size(stream->parent) > 0)
		return 1;
	ret = i_stream_read_memarea(stream->parent);
	if (ret <= 0) {
		stream->istream.stream_errno = stream->parent->stream_errno;
		stream->istream.eof = stream->parent->eof;
	}
	return ret;
}

/* @return octets taken from src */
static size_t convert(struct crlf_istream *crlf, const unsigned char *src,
		      size_t src_len, unsigned char *dest, size_t dest_len,
		      size_t *written_r)
{
	size_t in = 0, out = 0;

	while (in < src_len && out < dest_len) {
		if (src[in] == '\n' && !crlf->cr_written) {
			dest[out++] = '\r';
			crlf->cr_written = TRUE;
			continue;
		}
		crlf->cr_written = FALSE;
		dest[out++] = src[in++];
	}
	*written_r = out;
	return in;
}

static ssize_t crlf_read(struct istream_private *stream)
{
	struct crlf_istream *crlf =
		container_of(stream, struct crlf_istream, istream);
	const unsigned char *data;
	size_t size, room, taken, written;
	ssize_t ret;

	if ((ret = read_parent(stream)) <= 0)
		return ret;
	data = i_stream_get_data(stream->parent, &size);
	if (!i_stream_try_alloc(stream, size, &room))
		return -2;
	taken = convert(crlf, data, size, stream->w_buffer + stream->pos, room,
			&written);
	i_stream_skip(stream->parent, taken);
	stream->pos += written;
	return (ssize_t)written;
}

static int crlf_get_size(struct istream_private *stream, bool exact ATTR_UNUSED,
			 uoff_t *size_r)
{
	struct crlf_istream *crlf =
		container_of(stream, struct crlf_istream, istream);

	*size_r = crlf->size;
	return crlf->size == UOFF_T_MAX ? 0 : 1;
}

struct istream *rst_crlf_istream(struct istream *input, uoff_t size)
{
	struct crlf_istream *crlf = i_new(struct crlf_istream, 1);

	crlf->istream.max_buffer_size = input->real_stream->max_buffer_size;
	crlf->istream.read = crlf_read;
	crlf->istream.get_size = crlf_get_size;
	crlf->size = size;
	crlf->istream.istream.blocking = input->blocking;
	crlf->istream.istream.seekable = FALSE;
	return i_stream_create(&crlf->istream, input, i_stream_get_fd(input),
			       0);
}

size_t rst_count_lf(const unsigned char *data, size_t size)
{
	const unsigned char *p, *end = data + size;
	size_t count = 0;

	for (p = data; (p = memchr(p, '\n', end - p)) != NULL; p++)
		count++;
	return count;
}

int rst_crlf_size(struct istream *input, struct rst_digest *digest,
		  uoff_t *size_r)
{
	const unsigned char *data;
	size_t size;

	*size_r = 0;
	while (i_stream_read_more(input, &data, &size) > 0) {
		*size_r += size + rst_count_lf(data, size);
		rst_digest_update(digest, data, size);
		i_stream_skip(input, size);
	}
	return input->stream_errno == 0 ? 0 : -1;
}

int rst_crlf_skip_lines(struct istream *input, unsigned int lines,
			struct rst_digest *digest, uoff_t *octets_r)
{
	const unsigned char *data, *lf;
	size_t size;

	*octets_r = 0;
	while (lines > 0 && i_stream_read_more(input, &data, &size) > 0) {
		lf = memchr(data, '\n', size);
		if (lf != NULL) {
			size = lf + 1 - data;
			lines--;
			++*octets_r;
		}
		*octets_r += size;
		rst_digest_update(digest, data, size);
		i_stream_skip(input, size);
	}
	return input->stream_errno == 0 ? 0 : -1;
}

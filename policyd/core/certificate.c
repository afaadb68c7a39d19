/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/tls.h"
#include "restante/str.h"

/** @return octets appended, or -1 with errno */
static ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = -1;
	int saved;

	if (fd < 0)
		return -1;
	while (used < size && (n = read(fd, buf + used, size - used)) > 0)
		used += (size_t)n;
	saved = used == size ? EFBIG : errno;
	(void)close(fd);
	errno = saved;
	return n != 0 ? -1 : (ssize_t)used;
}

char *certificate_read(const struct conf *conf, size_t *len_r, char *error,
		       size_t error_size)
{
	const char *paths[] = {conf->tls_certificate, conf->tls_key};
	char *pem = rst_calloc(1, TLS_PEM_MAX);
	size_t used = 0, i;

	for (i = 0; i < 2; i++) {
		ssize_t n =
			read_file(paths[i], pem + used, TLS_PEM_MAX - used - 1);

		if (n < 0) {
			(void)snprintf(error, error_size, "%s: %s", paths[i],
				       strerror(errno));
			certificate_free(&pem, TLS_PEM_MAX);
			return NULL;
		}
		used += (size_t)n;
		pem[used++] = '\n'; /* the file's last line may lack it */
	}
	*len_r = used;
	return pem;
}

int certificate_to_fd(const char *pem, size_t len)
{
	int fd = memfd_create("restante-tls", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, pem, len) != (ssize_t)len) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

bool certificate_loads(const char *pem, size_t len, char *error,
		       size_t error_size)
{
	int fd = certificate_to_fd(pem, len);
	struct tls_server *server = NULL;

	if (fd < 0) {
		(void)snprintf(error, error_size, "%s", strerror(errno));
		return false;
	}
	server = tls_server_new(fd, RST_STR(""), error, error_size);
	(void)close(fd);
	if (server == NULL)
		return false;
	tls_server_free(&server);
	return true;
}

void certificate_free(char **pem, size_t len)
{
	if (*pem == NULL)
		return;
	explicit_bzero(*pem, len);
	free(*pem);
	*pem = NULL;
}

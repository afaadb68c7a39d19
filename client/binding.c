/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "binding.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* "token\n" and "token inode\n": of fixed lengths, so that writing over a line
   needs no room. */
#define TOKEN_LEN 32
#define INODE_LEN 20
#define LINE_LEN (TOKEN_LEN + 1 + INODE_LEN + 1)

/* @return length of the octets read, at most LINE_LEN; -1 with errno */
static ssize_t read_line(int fd, char line_r[LINE_LEN + 1])
{
	ssize_t n;

	do
		n = pread(fd, line_r, LINE_LEN, 0);
	while (n < 0 && errno == EINTR);
	line_r[n < 0 ? 0 : n] = '\0';
	return n;
}

static int write_line(int fd, const char *line)
{
	size_t len = strlen(line);
	ssize_t n = pwrite(fd, line, len, 0);

	if (n < 0)
		return -1;
	if ((size_t)n < len) {
		errno = ENOSPC;
		return -1;
	}
	return fsync(fd);
}

/* @param token without an end */
static int make_line(int maildir_fd, const char *token,
		     char line_r[LINE_LEN + 1])
{
	struct stat st;

	if (fstat(maildir_fd, &st) < 0)
		return -1;
	(void)snprintf(line_r, LINE_LEN + 1, "%.*s %0*" PRIuMAX "\n", TOKEN_LEN,
		       token, INODE_LEN, (uintmax_t)st.st_ino);
	return 0;
}

int binding_find(int maildir_fd, int maildir_lock_fd, int state_lock_fd)
{
	char token[LINE_LEN + 1], line[LINE_LEN + 1], want[LINE_LEN + 1];
	ssize_t token_len, len;

	len = read_line(state_lock_fd, line);
	if (len < 0)
		return -1;
	if (len == 0)
		return BINDING_NONE;
	token_len = read_line(maildir_lock_fd, token);
	if (token_len < 0 || make_line(maildir_fd, token, want) < 0)
		return -1;
	return token_len > TOKEN_LEN && strcmp(line, want) == 0 ? BINDING_THIS
								: BINDING_OTHER;
}

static int make_token(char token_r[TOKEN_LEN + 2])
{
	unsigned char octets[TOKEN_LEN / 2];
	size_t i;

	if (getrandom(octets, sizeof(octets), 0) != sizeof(octets))
		return -1;
	for (i = 0; i < sizeof(octets); i++)
		(void)snprintf(token_r + 2 * i, 3, "%02x", octets[i]);
	token_r[TOKEN_LEN] = '\n';
	token_r[TOKEN_LEN + 1] = '\0';
	return 0;
}

int binding_make(int maildir_fd, int maildir_lock_fd, int state_lock_fd)
{
	char token[TOKEN_LEN + 2], line[LINE_LEN + 1];

	if (make_token(token) < 0 || make_line(maildir_fd, token, line) < 0 ||
	    write_line(maildir_lock_fd, token) < 0)
		return -1;
	return write_line(state_lock_fd, line);
}

/* SPDX-License-Identifier: MIT */
/*
 * The file need not be durable: without it the hold is that of the next user
 * whose mail comes, and mail that is there stays that user's, as there is no
 * second one on a sound site.
 */
#include "lib.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "claim.h"
#include "hold.h"

#include <fcntl.h>
#include <unistd.h>

#define CLAIM_FILE "restante.owner"
#define NAME_MAX_SIZE 1024

static const char *claim_path(const struct rst_hold *hold)
{
	return t_strconcat(hold->dir, "/" CLAIM_FILE, NULL);
}

/* @return NULL: nobody's, or torn */
static const char *read_claim(const struct rst_hold *hold)
{
	char name[NAME_MAX_SIZE];
	int fd = open(claim_path(hold), O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd == -1)
		return NULL;
	n = read(fd, name, sizeof(name));
	i_close_fd(&fd);
	if (n <= 1 || name[n - 1] != '\n')
		return NULL;
	return t_strndup(name, n - 1);
}

static void write_claim(const struct rst_hold *hold)
{
	const char *path = claim_path(hold);
	const char *text = t_strconcat(hold->user->username, "\n", NULL);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd == -1 || write(fd, text, strlen(text)) < 0)
		e_warning(hold->user->event, "Cannot write %s: %m", path);
	i_close_fd(&fd);
}

/* A user may be known with and without the domain: one name by LMTP, and the
   other by doveadm. */
static bool is_same(const char *a, const char *b)
{
	const char *domain_a = strchr(a, '@'), *domain_b = strchr(b, '@');

	if (domain_a == NULL && domain_b != NULL)
		b = t_strdup_until(b, domain_b);
	else if (domain_b == NULL && domain_a != NULL)
		a = t_strdup_until(a, domain_a);
	return strcasecmp(a, b) == 0;
}

const char *rst_claim(const struct rst_hold *hold, bool claim)
{
	const char *whose = read_claim(hold);
	struct mailbox_status status;

	if (whose != NULL && is_same(whose, hold->user->username))
		return NULL;
	mailbox_get_open_status(hold->box, STATUS_MESSAGES, &status);
	if (whose != NULL && status.messages > 0)
		return whose;
	if (claim)
		write_claim(hold);
	return claim ? NULL : whose;
}

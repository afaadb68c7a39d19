/* SPDX-License-Identifier: MIT */
/** The certificate's files. What is in them is tls.h's matter. */
#ifndef POLICYD_CORE_CERTIFICATE_H
#define POLICYD_CORE_CERTIFICATE_H

#include "conf.h"

/**
 * Read both files.
 *
 * @param error one line, when NULL is returned
 * @return chain and key, PEM; hand it to certificate_free()
 */
char *certificate_read(const struct conf *conf, size_t *len_r, char *error,
		       size_t error_size);
/** Memory that can be handed to another process; read it at any offset.
    @return -1: errno */
int certificate_to_fd(const char *pem, size_t len);
/** Can TLS be spoken with it at all? Whether clients will be content is
    tls_check()'s question. */
bool certificate_loads(const char *pem, size_t len, char *error,
		       size_t error_size);
/** Not only freed: overwritten. */
void certificate_free(char **pem, size_t len);

#endif

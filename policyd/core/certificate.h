/* SPDX-License-Identifier: MIT */
/** Reading the certificate's two files. common/tls.h checks what they say. */
#ifndef POLICYD_CORE_CERTIFICATE_H
#define POLICYD_CORE_CERTIFICATE_H

#include "conf.h"

/**
 * Read both files.
 *
 * @param error one line, when NULL is returned
 * @return chain and key, PEM, to be freed with certificate_free()
 */
char *certificate_read(const struct conf *conf, size_t *len_r, char *error,
		       size_t error_size);
/** Copy the PEM to a memory file, whose descriptor can be sent to another
    process. Its file offset is at the end: read it with pread().
    @return descriptor; -1: errno */
int certificate_to_fd(const char *pem, size_t len);
/** Whether a TLS server can use the PEM at all. Whether clients accept the
    certificate, tls_check() finds out. */
bool certificate_loads(const char *pem, size_t len, char *error,
		       size_t error_size);
/** Overwrite the PEM, then free it. */
void certificate_free(char **pem, size_t len);

#endif

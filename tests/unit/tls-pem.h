/* SPDX-License-Identifier: MIT */
/** Certificates for tests, made on the spot: mx.example, *.wild.example. */
#ifndef TLS_PEM_H
#define TLS_PEM_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "test-util.h"

#define HOUR 3600L

static inline X509 *make_certificate(EVP_PKEY *key, long from, long until)
{
	X509 *cert = X509_new();
	X509_EXTENSION *names;
	X509V3_CTX v3;

	ck_assert_int_eq(X509_set_version(cert, 2), 1);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	(void)X509_gmtime_adj(X509_getm_notBefore(cert), from);
	(void)X509_gmtime_adj(X509_getm_notAfter(cert), until);
	(void)X509_set_pubkey(cert, key);
	X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
	names = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name,
				    "DNS:mx.example,DNS:*.wild.example");
	ck_assert_ptr_nonnull(names);
	(void)X509_add_ext(cert, names, -1);
	X509_EXTENSION_free(names);
	ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
	return cert;
}

enum tls_pem_parts {
	CERT = 1,
	KEY = 2,
	OTHER_KEY = 4,
	LOCKED_KEY = 8,
	GARBAGE = 16,
	KEY_FIRST = 32
};

/* @return to be freed with free() */
static inline char *make_pem(int parts, long from, long until, size_t *len_r)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	X509 *cert = make_certificate(key, from, until);
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *copy;

	if ((parts & KEY_FIRST) != 0)
		(void)PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL,
					       NULL);
	if ((parts & CERT) != 0) {
		(void)PEM_write_bio_X509(bio, cert);
		(void)PEM_write_bio_X509(bio, cert); /* the rest of a chain */
	}
	if ((parts & KEY) != 0)
		(void)PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL,
					       NULL);
	if ((parts & OTHER_KEY) != 0)
		(void)PEM_write_bio_PrivateKey(bio, other, NULL, NULL, 0, NULL,
					       NULL);
	if ((parts & LOCKED_KEY) != 0)
		(void)PEM_write_bio_PrivateKey(bio, key, EVP_aes_128_cbc(),
					       (const unsigned char *)"x", 1,
					       NULL, NULL);
	if ((parts & GARBAGE) != 0)
		(void)BIO_puts(bio, "-----BEGIN CERTIFICATE-----\nx\n");
	*len_r = (size_t)BIO_get_mem_data(bio, &data);
	copy = *len_r == 0 ? rst_strdup("")
			   : rst_str_dup((struct rst_str){data, *len_r});
	BIO_free(bio);
	X509_free(cert);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return copy;
}

#endif

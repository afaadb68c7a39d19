/* SPDX-License-Identifier: MIT */
#include "auth-private.h"

#include <string.h>

#include "base64.h"

bool rst_auth_field(struct rst_str *rest, struct rst_str *field_r)
{
	const char *tab;

	if (rest->p == NULL)
		return false;
	*field_r = *rest;
	tab = memchr(rest->p, '\t', rest->n);
	if (tab == NULL) {
		*rest = (struct rst_str){NULL, 0};
		return true;
	}
	field_r->n = (size_t)(tab - rest->p);
	rest->n -= field_r->n + 1;
	rest->p = tab + 1;
	return true;
}

bool rst_auth_field_is(struct rst_str field, const char *name,
		       struct rst_str *value_r)
{
	size_t n = strlen(name);

	*value_r = RST_STR("");
	if (field.n < n || memcmp(field.p, name, n) != 0)
		return false;
	if (field.n == n)
		return true;
	*value_r = (struct rst_str){field.p + n + 1, field.n - n - 1};
	return field.p[n] == '=';
}

/* Dovecot's str_tabescape() escapes these and no others. */
static const struct {
	char letter, octet;
} escapes[] = {
	{'0', '\0'}, {'1', '\001'}, {'t', '\t'}, {'n', '\n'}, {'r', '\r'},
};
#define ESCAPES (sizeof(escapes) / sizeof(escapes[0]))

static char unescape_letter(char letter)
{
	size_t i;

	for (i = 0; i < ESCAPES; i++) {
		if (escapes[i].letter == letter)
			return escapes[i].octet;
	}
	return letter;
}

char *rst_auth_unescape(struct rst_str field, struct rst_str *text_r)
{
	char *text = rst_malloc(field.n + 1);
	size_t i, n = 0;

	for (i = 0; i < field.n; i++) {
		char c = field.p[i];

		if (c == '\001' && i + 1 < field.n)
			c = unescape_letter(field.p[++i]);
		text[n++] = c;
	}
	text[n] = '\0';
	*text_r = (struct rst_str){text, n};
	return text;
}

void rst_auth_append_escaped(struct rst_buf *out, struct rst_str s)
{
	size_t i, k;

	for (i = 0; i < s.n; i++) {
		for (k = 0; k < ESCAPES; k++) {
			if (escapes[k].octet == s.p[i])
				break;
		}
		if (k == ESCAPES) {
			rst_buf_append(out, s.p + i, 1);
		} else {
			rst_buf_append(out, "\001", 1);
			rst_buf_append(out, &escapes[k].letter, 1);
		}
	}
}

/* @param set octets, as a string */
static bool consists_of(struct rst_str s, const char *set)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '\0' || strchr(set, s.p[i]) == NULL)
			return false;
	}
	return true;
}

bool rst_auth_mechanism_valid(struct rst_str mechanism)
{
	return mechanism.n > 0 && mechanism.n <= RST_AUTH_MECHANISM_MAX &&
	       consists_of(mechanism, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
}

bool rst_auth_mechanism_usable(struct rst_str mechanism, struct rst_str flags)
{
	static const char *const unusable[] = {"EXTERNAL", "GSSAPI",
					       "GSS-SPNEGO", "NTLM"};
	static const struct rst_str plus = {"-PLUS", 5};
	struct rst_str flag;
	size_t i;

	if (!rst_auth_mechanism_valid(mechanism))
		return false;
	for (i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++) {
		if (rst_str_eq(mechanism, rst_str(unusable[i])))
			return false;
	}
	if (mechanism.n >= plus.n &&
	    memcmp(mechanism.p + mechanism.n - plus.n, plus.p, plus.n) == 0)
		return false;
	while (rst_auth_field(&flags, &flag)) {
		if (rst_str_eq(flag, RST_STR("private")) ||
		    rst_str_eq(flag, RST_STR("anonymous")))
			return false;
	}
	return true;
}

void rst_auth_answer_parse(struct rst_str fields,
			   struct rst_auth_answer *answer_r)
{
	struct rst_str field, value;

	*answer_r = (struct rst_auth_answer){.user = RST_STR(""),
					     .reason = RST_STR(""),
					     .code = RST_STR("")};
	while (rst_auth_field(&fields, &field)) {
		if (rst_auth_field_is(field, "user", &value))
			answer_r->user = value;
		else if (rst_auth_field_is(field, "reason", &value))
			answer_r->reason = value;
		else if (rst_auth_field_is(field, "code", &value))
			answer_r->code = value;
		else if (rst_auth_field_is(field, "nologin", &value))
			answer_r->nologin = true;
		else if (rst_auth_field_is(field, "proxy", &value))
			answer_r->proxy = true;
		else if (rst_auth_field_is(field, "anonymous", &value))
			answer_r->anonymous = true;
		else if (rst_auth_field_is(field, "temp", &value))
			answer_r->temporary = true;
	}
	/* Dovecot said "temp" before it had codes */
	if (rst_str_eq(answer_r->code, RST_STR("temp_fail")))
		answer_r->temporary = true;
}

bool rst_auth_user_usable(struct rst_str user)
{
	size_t i;

	for (i = 0; i < user.n; i++) {
		unsigned char c = (unsigned char)user.p[i];

		if (c < ' ' || c == 0x7f)
			return false;
	}
	return user.n > 0;
}

/* An IPv4 or IPv6 address, never a name. */
static bool ip_valid(struct rst_str ip)
{
	return ip.n < 64 && consists_of(ip, "0123456789abcdefABCDEF.:");
}

static void append_ip(struct rst_buf *out, const char *name, struct rst_str ip)
{
	if (ip.n == 0)
		return;
	rst_buf_puts(out, name);
	rst_buf_str(out, ip);
}

static void append_port(struct rst_buf *out, const char *name,
			unsigned int port)
{
	if (port > 0)
		rst_buf_printf(out, "%s%u", name, port);
}

int rst_auth_format(struct rst_buf *out, uint32_t id,
		    const struct rst_auth_request *req)
{
	size_t start = out->used;

	if (!rst_auth_mechanism_valid(req->mechanism) ||
	    !ip_valid(req->remote_ip) || !ip_valid(req->local_ip) ||
	    (req->has_initial && !rst_base64_valid(req->initial)))
		return RST_EPERM;
	if (req->initial.n > RST_AUTH_LINE_MAX)
		return RST_EPERM;
	rst_buf_printf(out, "AUTH\t%u\t", id);
	rst_buf_str(out, req->mechanism);
	rst_buf_puts(out, "\tservice=");
	rst_auth_append_escaped(out, rst_str(req->service));
	rst_buf_puts(out, "\tsecured=tls");
	append_ip(out, "\tlip=", req->local_ip);
	append_ip(out, "\trip=", req->remote_ip);
	append_port(out, "\tlport=", req->local_port);
	append_port(out, "\trport=", req->remote_port);
	/* resp comes last: auth-request-handler.c closes the connection when
	   anything follows it. "resp=" means an empty response, and not none,
	   since version 1.2. */
	if (req->has_initial) {
		rst_buf_puts(out, "\tresp=");
		rst_buf_str(out, req->initial);
	}
	rst_buf_puts(out, "\n");
	return out->used - start <= RST_AUTH_LINE_MAX ? 0 : RST_EPERM;
}

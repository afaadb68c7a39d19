/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "ioloop.h"
#include "message-date.h"
#include "restante/envelope.h"
#include "common/dovecot-compat.h"
#include "trace-field.h"

#define FIELD_START "Received: from restante-hold by "

const char *rst_trace_field_needle(const char *id)
{
	return t_strdup_printf("\tid %s;", id);
}

const char *rst_trace_field_format(const char *id, const char *hostname)
{
	return t_strdup_printf(FIELD_START "%s (Restante)\r\n%s %s\r\n",
			       hostname, rst_trace_field_needle(id),
			       message_date_create(ioloop_time));
}

const char *rst_trace_field_parse(const unsigned char *data, size_t size)
{
	const char *text = t_strndup(data, size), *end;

	if (!str_begins_with(text, FIELD_START))
		return NULL;
	text = strchr(text, '\n');
	if (text == NULL || !str_begins_with(text, "\n\tid "))
		return NULL;
	text += strlen("\n\tid ");
	end = strchr(text, ';');
	if (end == NULL)
		return NULL;
	text = t_strdup_until(text, end);
	return rst_id_valid(rst_str(text)) ? text : NULL;
}

/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "doveadm-print.h"
#include "str-sanitize.h"
#include "report.h"

/* a path and a few words; nothing of it may end the line */
#define TEXT_MAX 1000

static unsigned int errors;

void rst_report_init(void)
{
	/* doveadm-server runs one command after the other */
	errors = 0;
	doveadm_print_init(DOVEADM_PRINT_TYPE_FORMATTED);
	doveadm_print_formatted_set_format(
		"%{state} %{user} %{what}: %{note}\n");
}

void rst_report_headers(void)
{
	doveadm_print_header_simple("state");
	doveadm_print_header_simple("user");
	doveadm_print_header_simple("what");
	doveadm_print_header_simple("note");
}

static void print(const char *state, const char *user, const char *what,
		  const char *note)
{
	doveadm_print(state);
	doveadm_print(str_sanitize(user, TEXT_MAX));
	doveadm_print(str_sanitize(what, TEXT_MAX));
	doveadm_print(str_sanitize(note, TEXT_MAX));
}

void rst_report_ok(const char *user, const char *what, const char *note)
{
	print("ok", user, what, note);
}

void rst_report_warning(const char *user, const char *what, const char *problem,
			const char *mend)
{
	print("warning", user, what, t_strconcat(problem, "; ", mend, NULL));
}

void rst_report_error(const char *user, const char *what, const char *problem,
		      const char *mend)
{
	print("error", user, what, t_strconcat(problem, "; ", mend, NULL));
	errors++;
}

unsigned int rst_report_errors(void)
{
	return errors;
}

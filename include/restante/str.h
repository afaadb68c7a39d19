/* SPDX-License-Identifier: MIT */
/** Views of octets, and allocation that never fails. */
#ifndef RESTANTE_STR_H
#define RESTANTE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A view of octets that another object owns: p is never NULL, and the octets
 * are not terminated. Each header says until when its views live.
 */
struct rst_str {
	const char *p;
	size_t n;
};

/** A view of a string literal; may be used as an initializer. */
#define RST_STR(literal) ((struct rst_str){"" literal, sizeof(literal) - 1})

/** A view of a terminated string; NULL gives the empty view. */
struct rst_str rst_str(const char *s);
bool rst_str_eq(struct rst_str a, struct rst_str b);
/** ASCII case does not matter. */
bool rst_str_case_eq(struct rst_str a, struct rst_str b);
bool rst_str_case_starts(struct rst_str s, struct rst_str prefix);
/**
 * Take the part of *rest before the first `sep`, or all of it; *rest is then
 * what follows the `sep`, or the empty view.
 * @return false: *rest was empty
 */
bool rst_str_split(struct rst_str *rest, char sep, struct rst_str *part_r);
/** Read decimal digits, at least one.
    @return false: another octet, or too large */
bool rst_str_to_u64(struct rst_str s, uint64_t *value_r);
/**
 * Find a word among words that blanks separate. ASCII case does not matter.
 * @param found_r the word as it stands there
 */
bool rst_str_find_word(struct rst_str words, struct rst_str word,
		       struct rst_str *found_r);
/** ASCII, in any locale. */
static inline char rst_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}
/** Replace every octet that is not printable ASCII by '?'. */
void rst_printable(char *s);
/** A terminated copy, to be freed with free(). */
char *rst_str_dup(struct rst_str s);

/* Out of memory ends the process, as in Dovecot and Postfix. */
void *rst_malloc(size_t n);
void *rst_calloc(size_t count, size_t size);
void *rst_realloc(void *p, size_t n);
char *rst_strdup(const char *s);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The input is a message between core and worker. There is one way to write
 *each message: a decoded one is encoded to the same octets. An input that
 *starts with "hex:" is hexadecimal, so that people can read the corpus.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude
 *	tests/fuzz/fuzz-ipc.c lib/ipc.c lib/str.c
 */
#include "restante/ipc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_decode(const char *buf, size_t len, enum rst_ipc_side side)
{
	static char out[RST_IPC_MAX];
	struct rst_ipc msg;
	ssize_t n;

	if (rst_ipc_decode(buf, len, side, &msg) < 0)
		return;
	n = rst_ipc_encode(&msg, out);
	check(n == (ssize_t)len && memcmp(out, buf, len) == 0);
	check((msg.type < RST_IPC_AUTH) == (side == RST_IPC_TO_WORKER));
	check(rst_ipc_has_fd(msg.type) ==
	      (msg.type == RST_IPC_TLS || msg.type == RST_IPC_HOLD));
}

static size_t from_hex(const uint8_t *data, size_t size, char *out)
{
	static const char digits[] = "0123456789abcdef";
	unsigned int value = 0;
	size_t i, count = 0;

	for (i = 0; i < size; i++) {
		const char *at = memchr(digits, data[i], 16);

		if (at == NULL)
			continue;
		value = value << 4 | (unsigned int)(at - digits);
		if (++count % 2 == 0)
			out[count / 2 - 1] = (char)(value & 0xff);
	}
	return count / 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *buf = rst_malloc(size);

	if (size >= 4 && memcmp(data, "hex:", 4) == 0)
		size = from_hex(data + 4, size - 4, buf);
	else if (size > 0)
		memcpy(buf, data, size);
	/* a copy, so that ASan sees a read beyond its end */
	buf = rst_realloc(buf, size);
	check_decode(buf, size, RST_IPC_TO_CORE);
	check_decode(buf, size, RST_IPC_TO_WORKER);
	free(buf);
	return 0;
}

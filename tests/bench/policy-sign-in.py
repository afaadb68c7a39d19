#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many clients at once: each says TLS, EHLO, AUTH PLAIN and ATRN, and stays.

The script prints one JSON line when every client is signed in or has failed,
and ends when its standard input ends.

usage: policy-sign-in.py PORT CA-FILE PASSWORD-FILE PREFIX FIRST COUNT SECONDS
       as PREFIX<n>@example.test, for COUNT from FIRST on
"""
import asyncio
import base64
import json
import pathlib
import ssl
import sys
import time

DOMAIN = "example.test"


async def reply(reader):
    while True:
        line = await reader.readline()
        if not line:
            raise ConnectionError("closed")
        if line[3:4] != b"-":
            return line


async def expect(reader, writer, text, code):
    if text:
        writer.write(text + b"\r\n")
    line = await reply(reader)
    if not line.startswith(code):
        raise ConnectionError(line.decode().strip())


async def sign_in(port, context, user, password):
    """@return (seconds, its connection)"""
    start = time.monotonic()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="mx.example.test",
        ssl_handshake_timeout=60)
    token = base64.b64encode(f"\0{user}\0{password}".encode())
    await expect(reader, writer, b"", b"220")
    await expect(reader, writer, b"EHLO client", b"250")
    await expect(reader, writer, b"AUTH PLAIN " + token, b"235")
    await expect(reader, writer, b"ATRN", b"250")
    return time.monotonic() - start, (reader, writer)


async def main():
    port, ca, password_file, prefix, first, count, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    password = pathlib.Path(password_file).read_text().rstrip("\n")
    start = time.monotonic()
    tasks = [asyncio.create_task(asyncio.wait_for(sign_in(
        int(port), context, f"{prefix}{n}@{DOMAIN}", password), float(seconds)))
        for n in range(int(first), int(first) + int(count))]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    good = [result for result in results if isinstance(result, tuple)]
    bad = {repr(result) for result in results
           if not isinstance(result, tuple)}
    print(json.dumps({"signed_in": len(good),
                      "failed": len(results) - len(good),
                      "seconds": round(time.monotonic() - start, 3),
                      "slowest_s": round(max((one[0] for one in good),
                                             default=0), 3),
                      "errors": sorted(bad)[:5]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())

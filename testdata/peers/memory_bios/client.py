"""client.py PORT CA CONNECTIONS REQUESTS: as client.js, with asyncio."""

import asyncio
import random
import ssl
import sys

port, ca, connections, requests = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)


async def connect(i):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(port), ssl=context, server_hostname="localhost"
    )
    for k in range(int(requests)):
        body = b"y" * ((i * 13 + k * 7) % 300)
        target = b"/c%d/r%d?n=%d" % (i, k, (i * 37 + k * 101) % 5000)
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (target, len(body)) + body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        await asyncio.sleep(random.random() * 0.003)
    writer.close()
    await writer.wait_closed()


async def main():
    await asyncio.gather(*[connect(i) for i in range(int(connections))])


asyncio.run(main())

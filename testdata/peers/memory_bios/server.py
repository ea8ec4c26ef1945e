"""server.py CERT KEY PORT_FILE: as server.js, with asyncio."""

import asyncio
import json
import random
import ssl
import sys


async def serve(reader, writer):
    client, server = ("%s:%d" % writer.get_extra_info(end) for end in ("peername", "sockname"))
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            await reader.readexactly(int(head.split("Content-Length: ")[1].split("\r\n")[0]))
            print(json.dumps({"path": path, "client": client, "server": server}), flush=True)
            await asyncio.sleep(random.random() * 0.003)
            body = b"x" * int(path.split("n=")[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def main(cert, key, port_file):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    with open(port_file, "w") as file:
        print(server.sockets[0].getsockname()[1], file=file)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))

"""quic_both_ends.py FOLDER COUNT: a server of QUIC, with the certificate in the folder, and as many
clients, one after another, in one process. Prints the server's port. Without clients it serves until
it is ended."""

import asyncio
import ssl
import sys

from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration

PROTOCOLS = ["hq-interop", "h3"]


async def client(port):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=PROTOCOLS, server_name="name.example"
    )
    configuration.verify_mode = ssl.CERT_NONE
    async with connect("127.0.0.1", port, configuration=configuration) as connection:
        reader, writer = await connection.create_stream()
        writer.write_eof()
        await reader.read()


async def main(folder, count):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=PROTOCOLS)
    configuration.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        stream_handler=lambda reader, writer: writer.write_eof(),
    )
    port = server._transport.get_extra_info("sockname")[1]
    print(port, flush=True)
    for _ in range(count):
        await client(port)
    if count == 0:
        await asyncio.sleep(60)
    server.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))

"""fetch_awscrt.py URL CA: writes what is there to standard output. s2n is in the wheel."""

import sys
from urllib.parse import urlsplit

from awscrt import http, io

TIMEOUT_S = 20

url, ca = sys.argv[1:]
parts = urlsplit(url)

context = io.TlsContextOptions()
context.override_default_trust_store_from_path(None, ca)
tls = io.ClientTlsContext(context).new_connection_options()
tls.set_server_name(parts.hostname)

group = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
connecting = http.HttpClientConnection.new(
    parts.hostname, parts.port, bootstrap, tls_connection_options=tls)
connection = connecting.result(TIMEOUT_S)

request = http.HttpRequest("GET", parts.path, http.HttpHeaders([("Host", parts.netloc)]))
stream = connection.request(
    request, on_body=lambda http_stream, chunk, **_: sys.stdout.buffer.write(chunk))
stream.activate()
stream.completion_future.result(TIMEOUT_S)
connection.close().result(TIMEOUT_S)

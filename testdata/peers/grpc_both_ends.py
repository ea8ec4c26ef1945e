"""grpc_both_ends.py FOLDER [URL]: a server and a client of gRPC in one process, with the certificate
in the folder. Prints the server's port. Fetches the URL with the TLS of Python, if there is one, and
waits for the end of standard input if it is `wait`."""

import ssl
import sys
import urllib.request
from concurrent import futures

import grpc


class Pong(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"pong")


folder = sys.argv[1]
with open(f"{folder}/cert.pem", "rb") as cert, open(f"{folder}/key.pem", "rb") as key:
    cert, key = cert.read(), key.read()
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((Pong(),))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
server.start()
print(port, flush=True)
if sys.argv[2:] == ["wait"]:
    server.wait_for_termination()
channel = grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(cert))
assert channel.unary_unary("/a.Service/Ping")(b"ping") == b"pong"
channel.close()
if len(sys.argv) > 2:
    context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
    urllib.request.urlopen(sys.argv[2], context=context).read()
server.stop(0).wait()

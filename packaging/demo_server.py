"""The demo's TLS server: a page, JSON, a redirect, a chunked answer, on a free loopback port.

Usage: demo_server.py DIR, where cert.pem and key.pem lie; writes the port to DIR/port.
"""

import http.server
import json
import os
import ssl
import sys

PAGE = b"<!doctype html><title>sslrec</title><h1>It was encrypted on the wire.</h1>\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, content_type, body, *headers):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, status, value):
        self.answer(status, "application/json", json.dumps(value).encode() + b"\n")

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/":
            self.answer(200, "text/html", PAGE)
        elif path == "/api/status":
            self.answer_json(200, {"status": "ok", "uptime_s": 12345})
        elif path == "/old-page":
            self.answer(302, "text/plain", b"", ("Location", "/"))
        elif path == "/stream":
            self.chunked()
        else:
            self.answer_json(404, {"error": "no such page"})

    def do_POST(self):
        received = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer_json(201, {"accepted": json.loads(received)})

    def chunked(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(5):
            line = f"line {number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


def main():
    folder = sys.argv[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(f"{folder}/port.new", "w", encoding="ascii") as file:
        file.write(str(server.server_address[1]))
    os.rename(f"{folder}/port.new", f"{folder}/port")
    server.serve_forever()


if __name__ == "__main__":
    main()

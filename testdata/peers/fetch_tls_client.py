"""fetch_tls_client.py URL: a request with uTLS, a library of Go in a shared object."""

import sys

import tls_client

session = tls_client.Session(client_identifier="chrome_120")
print(session.get(sys.argv[1], insecure_skip_verify=True).text)

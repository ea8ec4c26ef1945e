"""fetch_curl_cffi.py URL CA: writes what is there to standard output. BoringSSL is in the wheel."""

import sys

from curl_cffi import requests

url, ca = sys.argv[1:]
sys.stdout.buffer.write(requests.get(url, verify=ca).content)

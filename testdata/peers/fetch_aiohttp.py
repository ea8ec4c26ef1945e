"""fetch_aiohttp.py URL CA: writes what is there to standard output."""

import asyncio
import ssl
import sys

import aiohttp


async def fetch(url, ca):
    context = ssl.create_default_context(cafile=ca)
    async with aiohttp.ClientSession() as session:
        async with session.get(url, ssl=context) as response:
            sys.stdout.buffer.write(await response.read())


asyncio.run(fetch(*sys.argv[1:]))

"""S3 on one machine, over a folder. A bucket is a folder, an object a file.

AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... python -m local_cloud.s3.server --root FOLDER --port PORT
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Final

from local_cloud.access_log import AccessLog
from local_cloud.keys import KeyRing
from local_cloud.s3.api import S3Api
from local_cloud.s3.connection import CHUNK_BYTES, Connection
from local_cloud.s3.objects import BucketFolders
from local_cloud.signature import Credentials

# So many connections may wait to be accepted, because a step opens hundreds at once.
BACKLOG: Final = 1024

# Clients of this server need these variables, because it does not handle checksums.
NO_OBJECT_CHECKSUMS: Final = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="local_cloud.s3.server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder that holds the buckets")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--bucket", action="append", default=[], help="a bucket to create if it isn't there; may be repeated"
    )
    parser.add_argument("--access-log", type=Path, help="a file to which each request is noted")
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        keys = KeyRing(Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]))
    except KeyError as missing:
        print(f"error: set {missing} to the credentials S3 shall ask for.", file=sys.stderr)
        return 1
    for bucket in arguments.bucket:
        (arguments.root / bucket).mkdir(parents=True, exist_ok=True)
    log = AccessLog(arguments.access_log) if arguments.access_log else None
    asyncio.run(_serve(S3Api(BucketFolders(arguments.root), keys, log), arguments.host, arguments.port))
    return 0


async def _serve(api: S3Api, host: str, port: int) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: Connection(reader, writer, api.answer).serve(),
        host,
        port,
        limit=CHUNK_BYTES,
        backlog=BACKLOG,
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    raise SystemExit(main())

"""A real object store as far as clients can see: moto's S3, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.request import Request, urlopen

import obstore
from obstore.store import S3Store

SECRET = "test-secret-7f3a"


@dataclass
class ObjectStore:
    address: str
    buckets: set[str] = field(default_factory=set)

    @property
    def env(self) -> dict[str, str]:
        """The environment that leads to it."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def put(self, name: str, content: bytes) -> None:
        """Write the object at BUCKET/KEY."""
        bucket, _, key = name.partition("/")
        if bucket not in self.buckets:
            self.buckets.add(bucket)
            with urlopen(Request(f"{self.address}/{bucket}", b"", method="PUT")) as answer:
                assert answer.status == 200
        store = S3Store(
            bucket,
            endpoint=self.address,
            access_key_id="test",
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        obstore.put(store, key, content)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    command = [sys.executable, "-c", "from moto.server import main; main(['-p', '0'])"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)
        address = next(found[0] for found in lines if found)
        # It logs every request, and would wait for ever for somebody to read that.
        reading = threading.Thread(target=deque, args=(process.stderr, 0))
        reading.start()
        yield ObjectStore(address)
        process.terminate()
        reading.join()

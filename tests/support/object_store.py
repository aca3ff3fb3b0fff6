"""A real object store as far as clients can see: moto's S3, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.error import HTTPError
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
        self.make(bucket)
        obstore.put(self._bucket(bucket), key, content)

    def make(self, bucket: str) -> None:
        """The bucket is there."""
        if bucket not in self.buckets:
            self.buckets.add(bucket)
            with urlopen(Request(f"{self.address}/{bucket}", b"", method="PUT")) as answer:
                assert answer.status == 200

    def delete(self, bucket: str, key: str = "") -> None:
        """An object, or the bucket with all that is in it."""
        found = [key] if key else list(self.contents(bucket))
        obstore.delete(self._bucket(bucket), found)
        if key:
            return
        try:
            with urlopen(Request(f"{self.address}/{bucket}", method="DELETE")) as answer:
                assert answer.status == 204
        except HTTPError as exc:
            if exc.code != 409:
                raise
            self.delete(bucket)  # a run that is at work has put one more meanwhile
        self.buckets.discard(bucket)

    def contents(self, place: str) -> dict[str, bytes]:
        """Every object below BUCKET/PREFIX, by its name from there on."""
        bucket, _, prefix = place.partition("/")
        store = self._bucket(bucket)
        return {
            found["path"].removeprefix(f"{prefix}/"): bytes(
                obstore.get(store, found["path"]).bytes()
            )
            for page in obstore.list(store, prefix or None)
            for found in page
        }

    def _bucket(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.address,
            access_key_id="test",
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )


@contextmanager
def object_store(env: Mapping[str, str] | None = None) -> Iterator[ObjectStore]:
    command = [sys.executable, "-c", "from moto.server import main; main(['-p', '0'])"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    ) as process:
        assert process.stderr is not None
        lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)
        address = next(found[0] for found in lines if found)
        # It logs every request, and would wait for ever for somebody to read that.
        reading = threading.Thread(target=deque, args=(process.stderr, 0))
        reading.start()
        try:
            yield ObjectStore(address)
        finally:
            process.terminate()
            reading.join()

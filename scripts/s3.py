"""An S3 server for tests and benchmarks, in this process: moto."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen


@contextmanager
def moto_server(address: str = "127.0.0.1") -> Iterator[str]:
    """An S3 server's endpoint."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def s3_server(address: str, bucket: str) -> Iterator[str]:
    """The endpoint of a server at ``address`` that has a bucket."""
    with moto_server(address) as endpoint:
        make_bucket(endpoint, bucket)
        yield endpoint


def make_bucket(endpoint: str, bucket: str) -> None:
    """Make a bucket."""
    urlopen(Request(f"{endpoint}/{bucket}", method="PUT")).close()


def s3_options(endpoint: str) -> dict[str, str]:
    """How a store is opened there: obstore's options."""
    return {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "test", "secret_access_key": "test"}


def s3_environment(endpoint: str) -> dict[str, str]:
    """The same as environment variables."""
    return {**{f"AWS_{key.upper()}": value for key, value in s3_options(endpoint).items()}, "AWS_ALLOW_HTTP": "true"}

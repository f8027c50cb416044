"""Servers with certificates, and several addresses behind one name."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from oip_server import OipServer

from airflow_agentic.exceptions import ServiceRefusedError
from airflow_agentic.openinference.client import ServiceClient
from airflow_agentic.spec.service import ServiceSpec

NAME = "models.example.org"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a server called :data:`NAME`, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ip_address("127.0.0.9"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
async def server(certificate: Path) -> AsyncIterator[OipServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    made = OipServer()
    await made.start(host="0.0.0.0", tls=context)
    yield made
    await made.stop()


async def two(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1", "127.0.0.2"]


def client(server: OipServer, host: str, ca_file: Path | None) -> ServiceClient:
    url = f"https://{host}:{urlsplit(server.url).port}"
    said = ServiceSpec(url=[url], ca_file=None if ca_file is None else str(ca_file))
    return ServiceClient(said, look_up=two)


async def test_each_address_of_a_name_is_asked_under_that_name(server: OipServer, certificate: Path) -> None:
    made = client(server, NAME, certificate)
    health = await made.health()
    await made.close()
    port = urlsplit(server.url).port
    assert [(one.url, one.ready) for one in health] == [
        (f"https://127.0.0.1:{port}", True),
        (f"https://127.0.0.2:{port}", True),
    ]
    assert {headers["host"] for _, headers in server.requests} == {f"{NAME}:{port}"}


async def test_a_certificate_of_nobody_who_is_trusted(server: OipServer) -> None:
    made = client(server, NAME, None)
    with pytest.raises(ServiceRefusedError, match=r"is not trusted: .*; fix service\.ca_file, or its certificate$"):
        await made.server()
    await made.close()
    assert server.requests == []


async def test_a_certificate_for_another_name(server: OipServer, certificate: Path) -> None:
    made = client(server, "other.example.org", certificate)
    with pytest.raises(ServiceRefusedError, match=r"is not trusted: .*; fix service\.ca_file, or its certificate$"):
        await made.server()
    await made.close()
    assert server.requests == []


async def test_a_ca_file_that_is_none(server: OipServer, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    made = client(server, NAME, path)
    with pytest.raises(ServiceRefusedError) as caught:
        await made.server()
    assert str(caught.value).startswith(f"service.ca_file {str(path)!r} holds no certificates that can be used: ")

"""Stores behind TLS, on a server that was built for it: the certificate is checked, by both drivers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ctxqueue import StoreUnavailable, aconnect, connect
from ctxqueue.testing import EmbeddedServer
from tests.contract.matrix import binary_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.matrix


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


@pytest.fixture(scope="module", params=["rediss", "rediss+cluster"])
def place(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[tuple[str, Path]]:
    """A URL without what the certificate is checked by, and that."""
    port, (trusted, key) = free_port(), certificate
    config = {
        "tls-port": str(port),
        "tls-auth-clients": "no",
        "tls-ca-cert-file": str(trusted),
        "tls-cert-file": str(trusted),
        "tls-key-file": str(key),
    }
    if request.param == "rediss+cluster":
        config |= {"cluster-enabled": "yes", "tls-cluster": "yes", "cluster-port": str(free_port())}
    with EmbeddedServer(config=config, binary=binary_of("redis-7.0")) as server:
        if request.param == "rediss+cluster":
            with redis.Redis(port=server.port or 0) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
                wait_until(
                    lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
                    "the cluster serves",
                )
        yield f"{request.param}://127.0.0.1:{port}", trusted


def test_calls_go_through_tls_by_both_drivers(place: tuple[str, Path]) -> None:
    url = f"{place[0]}?ssl_ca_certs={place[1]}"
    with connect(url) as manager:
        wf = manager.workflow("w", agent_id="analyst_001")
        wf.open()
        wf.update({"k": [1]}, merge_strategy="append")

    async def awaited() -> None:
        async with aconnect(url) as manager:
            await manager.workflow("w", agent_id="analyst_001").update({"k": [2]}, merge_strategy="append")

    asyncio.run(awaited())
    with connect(url) as manager:
        assert manager.workflow("w", agent_id="analyst_001")["k"] == [1, 2]


def test_a_certificate_that_nobody_vouches_for_is_refused(place: tuple[str, Path]) -> None:
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        connect(place[0])

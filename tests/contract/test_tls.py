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

from ctxqueue import StoreAuthError, StoreUnavailable, aconnect, connect
from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.sentinels import MASTER_NAME
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


def tls(certificate: tuple[Path, Path]) -> dict[str, str]:
    """Return what a server's configuration says of TLS, on a port that is free."""
    return {
        "tls-port": str(free_port()),
        "tls-auth-clients": "no",
        "tls-ca-cert-file": str(certificate[0]),
        "tls-cert-file": str(certificate[0]),
        "tls-key-file": str(certificate[1]),
    }


@pytest.fixture(scope="module", params=["rediss", "rediss+cluster"])
def place(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[tuple[str, Path]]:
    """A URL without what the certificate is checked by, and that."""
    config = tls(certificate)
    port = config["tls-port"]
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
        yield f"{request.param}://127.0.0.1:{port}", certificate[0]


class TlsSentinel(EmbeddedServer):
    """A Sentinel that speaks TLS, and watches one master by TLS."""

    def __init__(self, master: EmbeddedServer, config: dict[str, str], password: str) -> None:
        super().__init__(password=password, config=config, binary=binary_of("redis-7.0"))
        self._master = master

    def _command_line(self, binary: Path, configuration: Path) -> list[str]:
        return [*super()._command_line(binary, configuration), "--sentinel"]

    def _directives(self, directory: Path, port: int) -> Iterator[tuple[str, str]]:
        yield from {"bind": "127.0.0.1", "port": str(port), "dir": str(directory), **self.config}.items()
        yield "requirepass", str(self.password)
        yield "sentinel", f"monitor {MASTER_NAME} 127.0.0.1 {self._master.config['tls-port']} 1"
        yield "sentinel", f"auth-pass {MASTER_NAME} {self._master.password}"


@pytest.fixture(scope="module")
def watched(certificate: tuple[Path, Path]) -> Iterator[str]:
    """The URL of a master behind one Sentinel, without its options: both want TLS, and a password of their own."""
    own, its = ({**tls(certificate), "tls-replication": "yes"} for _ in range(2))
    with (
        EmbeddedServer(password="masters", config=own, binary=binary_of("redis-7.0")) as master,
        TlsSentinel(master, its, "sentinels"),
    ):
        yield f"sentinel://:masters@127.0.0.1:{its['tls-port']}/0?master_name={MASTER_NAME}"


def check_calls(url: str) -> None:
    """Write and read by both drivers."""
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


def test_calls_go_through_tls_by_both_drivers(place: tuple[str, Path]) -> None:
    check_calls(f"{place[0]}?ssl_ca_certs={place[1]}")


def test_calls_go_through_tls_to_sentinels_and_to_their_master(watched: str, certificate: tuple[Path, Path]) -> None:
    check_calls(f"{watched}&ssl=true&sentinel_ssl=true&sentinel_password=sentinels&ssl_ca_certs={certificate[0]}")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("&ssl=true&sentinel_ssl=true&sentinel_password=sentinels", StoreUnavailable),  # vouched for by nobody
        ("&ssl=true&sentinel_password=sentinels&ssl_ca_certs={}", StoreUnavailable),  # no TLS to the Sentinel
        ("&sentinel_ssl=true&sentinel_password=sentinels&sentinel_ssl_ca_certs={}", StoreUnavailable),  # nor the master
        ("&ssl=true&sentinel_ssl=true&ssl_ca_certs={}", StoreAuthError),
    ],
)
def test_sentinels_without_what_they_ask_for(
    watched: str, certificate: tuple[Path, Path], options: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        connect(watched + options.format(certificate[0]))
    assert "masters" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(place: tuple[str, Path]) -> None:
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        connect(place[0])

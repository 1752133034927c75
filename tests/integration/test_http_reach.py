"""Where nodes of type http may go, and where not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from courante.sdk.http.client import Connections
from courante.sdk.http.reach import AddressRefused, read_reach
from integration.http_site import Answer, Asked, asks, echo, open_site
from integration.stage import Stage

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0:{port}/",
    ],
)
async def test_private_addresses_are_refused(stage: Stage, url: str) -> None:
    """In all their forms, and the server never hears of it."""
    stage.worker()
    stage.supervisor()
    async with open_site(echo) as site:
        workflow = await stage.register(asks(input="input"))
        done = await stage.run(workflow, url.format(port=site.port))
        assert done.error is not None
        assert (done.error["type"], done.error["attempt"], site.connections) == ("AddressRefused", 1, 0)


async def test_a_redirect_into_a_private_network_is_refused(stage: Stage) -> None:
    """The first host is allowed; where it leads is not."""
    async with open_site(echo) as inner:

        def give(asked: Asked) -> Answer:
            target = {"/x": inner.url, "/file": "file:///etc/passwd"}[asked.path]
            return Answer(status=302, headers={"Location": target})

        async with open_site(give) as site:
            stage.worker(http_allow=f"127.0.0.1:{site.port}")
            stage.supervisor()
            workflow = await stage.register(asks(input="input"))
            for path in ("/x", "/file"):
                done = await stage.run(workflow, site.url + path)
                assert done.error is not None
                assert done.error["type"] == "AddressRefused"
        assert inner.connections == 0


async def test_a_name_that_changes_its_mind_is_caught_with_every_connection(stage: Stage) -> None:
    """What was checked is what is connected to: the answer of a moment ago does not count for the next connection."""
    del stage
    asked: list[str] = []

    async def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with open_site(lambda _: Answer.json("1", is_last=len(asked) > 0)) as site:
        connections = Connections(read_reach("127.0.0.1"), resolver)
        url = f"http://shop.example:{site.port}/"
        async with httpx.AsyncClient(transport=connections, trust_env=False) as client:
            assert (await client.get(url)).json() == 1
            assert site.asked[0].headers["host"] == f"shop.example:{site.port}"
            with pytest.raises(AddressRefused, match=r"shop.example \(10.0.0.1\)"):
                await client.get(url)
        await connections.shut()
    assert asked == ["shop.example", "shop.example"]


async def test_one_private_address_among_public_ones_is_refused() -> None:
    """All answers of a name are checked, not only the one that is used."""

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    connections = Connections(read_reach("127.0.0.1"), resolver)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        await connections.handle_async_request(httpx.Request("GET", "http://shop.example/"))
    await connections.shut()


def write_certificate(path: Path, name: str) -> None:
    """A key, and a certificate of it that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(plain + made.public_bytes(pem))


async def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the connection goes to an address."""
    path = tmp_path / "shop.pem"
    write_certificate(path, "shop.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with open_site(lambda _: Answer.json("1"), tls=tls) as site:
        connections = Connections(read_reach("127.0.0.1"), resolver)
        async with httpx.AsyncClient(transport=connections, trust_env=False) as client:
            assert (await client.get(f"https://shop.example:{site.port}/")).json() == 1
            with pytest.raises(httpx.ConnectError, match=r"shop\.other"):
                await client.get(f"https://shop.other:{site.port}/")
        await connections.shut()

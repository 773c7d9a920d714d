"""Images that are signed with content credentials: C2PA's own reader verifies them. Skipped without c2pa-python."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.dataset import ai_mark, images, mp4, videos
from pipelines.dataset.content_credentials import Credentials, Signer, finishing, weighing
from pipelines.dataset.storage import Storage
from pipelines.flows.finish import finish
from tests.support.exports import export
from tests.support.toy_run import Toy, write_run

c2pa = pytest.importorskip("c2pa")

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
FILES = {
    "image/png": images.encode(PICTURE, "png"),
    "image/webp": images.encode(PICTURE, "webp"),
    "animated": videos.encode(np.stack([PICTURE, PICTURE[::-1]]), "webp", 8),
    "video/mp4": videos.encode(np.stack([PICTURE, PICTURE[::-1]])[:, :8, :6], "mp4", 8),
}


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """A certificate of a root that nobody knows, and its key."""
    return write_credentials(tmp_path_factory.mktemp("keys"))


def write_credentials(folder: Path) -> Credentials:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def certificate(name: str, key: Any, by: str, with_key: Any, *, root: bool) -> Any:
        names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, one)]) for one in (name, by)]
        today = datetime.now(UTC)
        built = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(today - timedelta(1)).not_valid_after(today + timedelta(30))
        built = built.add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        built = built.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(with_key.public_key()), critical=False
        )
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        usage |= {"digital_signature": not root, "key_cert_sign": root, "crl_sign": root, "decipher_only": False}
        built = built.add_extension(x509.KeyUsage(**usage), critical=True)
        if not root:
            built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return built.sign(with_key, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = [
        certificate("Signer", key, "Root", root_key, root=False),
        certificate("Root", root_key, "Root", root_key, root=True),
    ]
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return Credentials(certificate=str(folder / "chain.pem"), key=str(folder / "key.pem"))


def read(data: bytes) -> dict[str, Any]:
    kind = "image/webp" if data.startswith(b"RIFF") else "video/mp4" if mp4.is_one(data) else "image/png"
    found: dict[str, Any] = json.loads(c2pa.Reader(kind, io.BytesIO(data)).json())
    return found


def problems(found: dict[str, Any]) -> set[str]:
    return {status["code"] for status in found.get("validation_status", [])}


@pytest.mark.parametrize("kind", FILES)
def test_the_signature_is_valid_and_says_what_made_the_image(kind: str, credentials: Credentials) -> None:
    signed = Signer(credentials)(FILES[kind])
    found = read(signed)
    assert found["validation_state"] == "Valid"
    assert problems(found) == {"signingCredential.untrusted"}  # nobody knows the root
    manifest = found["manifests"][found["active_manifest"]]
    (actions,) = [one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions")]
    assert [action["digitalSourceType"] for action in actions] == [ai_mark.SOURCE_TYPE]
    frames = 1 if kind.startswith("image") else 2
    before, after = (videos.decode(data, frames, range(frames)) for data in (FILES[kind], signed))
    assert np.array_equal(before, after)
    assert ai_mark.SOURCE_TYPE.encode() in signed


def test_a_change_afterwards_is_found_out(credentials: Credentials) -> None:
    signed = bytearray(Signer(credentials)(FILES["image/png"]))
    signed[-20] ^= 1
    found = read(bytes(signed))
    assert found["validation_state"] == "Invalid"
    assert "assertion.dataHash.mismatch" in problems(found)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_weighed_without_a_signature(kind: str, credentials: Credentials) -> None:
    weigh = weighing(mark=True, credentials=credentials)
    assert abs(len(weigh(FILES[kind])) - len(Signer(credentials)(FILES[kind]))) < 500
    for mark in (True, False):
        assert weighing(mark=mark, credentials=None)(FILES[kind]) == finishing(mark=mark, credentials=None)(FILES[kind])


@pytest.mark.parametrize("kind", ["webdataset", "huggingface"])
def test_every_image_of_an_export_is_signed_once(
    kind: str, credentials: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(write_run(tmp_path / "run", Toy(prompts=2, arms=("base",), side=16)))
    signed: list[int] = []
    sign = Signer.__call__

    def counted(self: Signer, data: bytes) -> bytes:
        signed.append(len(data))
        return sign(self, data)

    monkeypatch.setattr(Signer, "__call__", counted)
    words = ["--c2pa-certificate", credentials.certificate, "--c2pa-key", credentials.key]
    to = tmp_path / "to"
    assert export(tmp_path / "run", to, kind, *words) == 0
    assert "content credentials" in (to / "README.md").read_text()
    trial = min(signed)  # of a picture of one pixel
    assert len([size for size in signed if size > trial]) == 6
    if kind == "huggingface":
        cells: Any = pq.read_table(to / "data")["image"].to_pylist()
        assert [read(cell["bytes"])["validation_state"] for cell in cells] == ["Valid"] * 6
    before = (to / "export.json").read_bytes()
    assert export(tmp_path / "run", to, kind, *words) == 0  # nothing is signed again
    assert (to / "export.json").read_bytes() == before
    assert export(tmp_path / "run", to, kind) == 2  # another export
    assert Storage.open(to).sizes("")


def test_what_cannot_sign_is_said_before_anything_is_written(
    credentials: Credentials, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_credentials(tmp_path)
    for words, message in (
        (["--c2pa-certificate", "gone.pem", "--c2pa-key", credentials.key], "gone.pem: No such file"),
        (["--c2pa-key", credentials.key], "needs both"),
        (["--c2pa-certificate", credentials.key, "--c2pa-key", credentials.key], "cannot sign with es256"),
        (["--c2pa-certificate", other.certificate, "--c2pa-key", credentials.key], "cannot sign with es256"),
        (
            ["--c2pa-certificate", other.certificate, "--c2pa-key", other.key, "--c2pa-algorithm", "ed25519"],
            "cannot sign with ed25519",
        ),
        (["--c2pa-certificate", other.certificate, "--c2pa-key", other.key, "--no-mark"], "are signed are marked"),
    ):
        assert export(tmp_path / "run", tmp_path / "to", "webdataset", *words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "to").exists()

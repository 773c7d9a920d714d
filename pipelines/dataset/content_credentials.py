"""What is done to image files that leave in exports or from the endpoint: the mark of `ai_mark`, and where a key is
given a signature as content credentials (C2PA), by the optional package c2pa-python."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models.errors import require
from pipelines.dataset import ai_mark, images
from pipelines.errors import UserError

ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
"""Those of C2PA."""

_MANIFEST = json.dumps(
    {
        "claim_generator_info": [{"name": "Raydiance"}],
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": ai_mark.SOURCE_TYPE}]},
            }
        ],
    }
)
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
"""No second picture in every file, and no check of each right after it is made: `Signer` tries the key once."""

_KINDS = {b"RIFF": "image/webp", b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg"}
"""What files begin with; an MP4 begins with the size of its first box."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Who signs."""

    certificate: str
    """PEM file with the signer's certificate, then those between it and its root."""
    key: str
    """PEM file with its private key (PKCS 8), on every worker; it is read there and goes nowhere else."""
    algorithm: str = "es256"
    """That of the key, one of `ALGORITHMS`."""

    def __post_init__(self) -> None:
        require(bool(self.certificate and self.key), "certificate, key", (self.certificate, self.key), "needs both")
        require(self.algorithm in ALGORITHMS, "algorithm", self.algorithm, f"needs one of {', '.join(ALGORITHMS)}")


class Signer:
    """Signs image files. A signature has a number of its own, so that no two files that are signed are equal; a file
    becomes larger by as much as the certificates, and some 2 KB.

    credentials: who signs.

    Raises:
        UserError: when the package is not there, a file cannot be read, or the three do not fit together.
    """

    def __init__(self, credentials: Credentials) -> None:
        if find_spec("c2pa") is None:
            raise UserError("signing needs the package c2pa-python, which is not installed: pip install c2pa-python")
        import c2pa

        try:
            certificate, key = (Path(file).read_bytes() for file in (credentials.certificate, credentials.key))
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}; name the files with certificate and key") from error
        self._c2pa = c2pa
        self._info = c2pa.C2paSignerInfo(credentials.algorithm.encode(), certificate, key, None)
        self._context = c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))
        unsigned = images.encode(np.zeros((1, 1, 3), np.uint8), "png")
        try:
            trial = self(unsigned)
            found = json.loads(c2pa.Reader("image/png", io.BytesIO(trial)).json())
            wrong = ", ".join(status["code"] for status in found.get("validation_status", []))
            wrong = wrong if found["validation_state"] == "Invalid" else ""
        except c2pa.C2paError as error:
            wrong = str(error)
        if wrong:
            pair = f"{credentials.certificate} and {credentials.key}"
            raise UserError(f"{pair} cannot sign with {credentials.algorithm}: {wrong}")
        self.growth = len(trial) - len(ai_mark.marked(unsigned))
        """By how many bytes a signature makes a marked file larger, to within some hundred: formats differ a little."""

    def __call__(self, data: bytes) -> bytes:
        """An image file, marked and signed; its pixels are the same.

        data: as for `ai_mark.marked`.
        """
        marked, signed = ai_mark.marked(data), io.BytesIO()
        builder = self._c2pa.Builder(_MANIFEST, self._context)
        kind = next((kind for begins, kind in _KINDS.items() if marked.startswith(begins)), "video/mp4")
        builder.sign(self._c2pa.Signer.from_info(self._info), kind, io.BytesIO(marked), signed)
        return signed.getvalue()


def finishing(*, mark: bool, credentials: Credentials | None) -> Callable[[bytes], bytes]:
    """What gives an image file the form in which it leaves.

    mark: whether it says that a model has made it.
    credentials: who signs, None for nobody.

    Raises:
        UserError: as `Signer`, and where an image would be signed without a mark.
    """
    if credentials is None:
        return ai_mark.marked if mark else bytes
    if not mark:
        raise UserError("images that are signed are marked: leave out the signature, or let them be marked")
    return Signer(credentials)


def weighing(*, mark: bool, credentials: Credentials | None) -> Callable[[bytes], bytes]:
    """What gives an image file about the size that `finishing` gives it: nothing is signed, which takes milliseconds.

    mark, credentials: as for `finishing`.

    Raises:
        UserError: as `finishing`.
    """
    finish = finishing(mark=mark, credentials=credentials)
    return (lambda data: ai_mark.marked(data) + bytes(finish.growth)) if isinstance(finish, Signer) else finish

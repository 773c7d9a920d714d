"""API keys. Only digests are kept, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import UserError

VARIABLE = "RAYDIANCE_API_KEYS"
"""Environment variable with keys, separated by commas."""

_SHORTEST = 16


class Keys:
    """A set of API keys; with an empty one, callers need no key.

    Raises:
        UserError: when a key is too short, or not printable ASCII.
    """

    def __init__(self, keys: frozenset[str] = frozenset()) -> None:
        for key in keys:
            if len(key) < _SHORTEST or not key.isascii() or not key.isprintable():
                raise UserError(f"an API key is shorter than {_SHORTEST} characters, or not printable ASCII: change it")
        self._digests = [_digest(key) for key in sorted(keys)]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, authorization: str | None) -> bool:
        """Whether a caller may call.

        authorization: value of the header: "Bearer" and a key.
        """
        if not self._digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == "bearer" and any(matches)

    def owner(self, authorization: str | None) -> str:
        """Whose jobs a caller sees: a digest of the key; "" where no keys are asked for.

        authorization: as of `admit`, which has let it in.
        """
        return _digest((authorization or "").partition(" ")[2].strip()).hex() if self._digests else ""


def read(file: str, environment: Mapping[str, str] = os.environ) -> Keys:
    """The API keys of a file and of the environment.

    file: one key per line, # begins a comment; "" is no file.
    environment: with the variable RAYDIANCE_API_KEYS.

    Raises:
        UserError: when the file cannot be read or has no key, or a key is not good enough.
    """
    words = environment.get(VARIABLE, "").split(",")
    if file:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"api_keys_file = {file!r} cannot be read: {type(error).__name__}") from None
        words += [line.partition("#")[0] for line in lines]
    keys = frozenset(word.strip() for word in words if word.strip())
    if file and not keys:
        raise UserError(f"api_keys_file = {file!r} holds no key; write one per line")
    return Keys(keys)


def require_for(host: str | None, keys: Keys, *, allow_anonymous: bool) -> None:
    """Check that an endpoint on the network has keys.

    host: address that the web server listens on; None for no web server.
    keys: the API keys.
    allow_anonymous: allow callers without keys everywhere.

    Raises:
        UserError: when the address is not loopback, and there are no keys.
    """
    if keys or allow_anonymous or is_loopback(host):
        return
    raise UserError(
        f"the endpoint would answer on {host} without API keys: set {VARIABLE} or api_keys_file, listen on 127.0.0.1, "
        "or set allow_anonymous=true behind a proxy that checks who calls"
    )


def is_loopback(host: str | None) -> bool:
    """Whether an address is loopback; None, Ray Serve's value for no web server, counts as loopback."""
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

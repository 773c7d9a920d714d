"""API keys and their names. Only digests of keys are kept, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import UserError

VARIABLE = "RAYDIANCE_API_KEYS"
"""Environment variable with keys, separated by commas."""

_SHORTEST = 16
_NAME = re.compile(r"[\w.@+-]{1,64}")


NO_NAMES: Mapping[str, str] = {}


class Keys:
    """A set of API keys; with an empty one, callers need no key.

    keys: the keys.
    names: of keys that have one.

    Raises:
        UserError: when a key is too short, or not printable ASCII, or a name is none.
    """

    def __init__(self, keys: frozenset[str] = frozenset(), names: Mapping[str, str] = NO_NAMES) -> None:
        for key in keys:
            if len(key) < _SHORTEST or not key.isascii() or not key.isprintable():
                raise UserError(f"an API key is shorter than {_SHORTEST} characters, or not printable ASCII: change it")
        self._names = {_digest(key): names.get(key, f"key-{_digest(key).hex()[:8]}") for key in sorted(keys)}
        self._digests = list(self._names)
        for name in self._names.values():
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r} is no name of an API key: take letters, digits and . @ + - _, at most 64")

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

    def name(self, authorization: str | None) -> str:
        """The name of a caller's key, for logs and metrics; "" where no keys are asked for.

        authorization: as of `admit`, which has let it in.
        """
        return self._names[_digest((authorization or "").partition(" ")[2].strip())] if self._digests else ""

    def owner(self, authorization: str | None) -> str:
        """Whose jobs a caller sees: a digest of the key; "" where no keys are asked for.

        authorization: as of `admit`, which has let it in.
        """
        return _digest((authorization or "").partition(" ")[2].strip()).hex() if self._digests else ""


def read(file: str, environment: Mapping[str, str] = os.environ) -> Keys:
    """The API keys of a file and of the environment.

    file: one key per line, or "name: key", # begins a comment; "" is no file.
    environment: with the variable RAYDIANCE_API_KEYS, of the same.

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
    named: dict[str, str] = {}
    for word in words:
        name, found, key = word.strip().rpartition(": ")  # with the space: a key may have a colon
        if key.strip():
            named[key.strip()] = name.strip() if found else ""
    if file and not named:
        raise UserError(f"api_keys_file = {file!r} holds no key; write one per line")
    return Keys(frozenset(named), {key: name for key, name in named.items() if name})


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

"""The address of a Ray cluster, and what is none. Importable without Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipelines.config.tables import RayOptions
from pipelines.errors import UserError

VARIABLE = "RAY_ADDRESS"
ANY = "auto"
"""The Ray that runs on this machine."""

_OWN = "local"
_SUBMIT = "ray job submit --address http://HOST:8265 --working-dir . -- python jobs/synth.py --config CONFIG"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the cluster is, and which setting says so."""

    setting: str
    """`ray.address`, or the environment variable."""
    value: str
    """HOST:PORT, or "auto" for the Ray that runs on this machine."""

    def __str__(self) -> str:
        return f"{self.setting} = {self.value!r}"


def address_of(options: RayOptions) -> Address | None:
    """The cluster that a job joins; None where it starts Ray itself.

    options: the table [ray].

    Raises:
        UserError: when the address has a form in which the job cannot join a cluster.
    """
    setting, value = ("ray.address", options.address) if options.address else (VARIABLE, os.environ.get(VARIABLE, ""))
    address = Address(setting=setting, value=value.strip())
    if address.value in ("", _OWN):
        return None
    if address.value != ANY:
        host_and_port(address)
    return address


def host_and_port(address: Address) -> tuple[str, int]:
    """Host and port of an address that is not `ANY`; an IPv6 host without its brackets.

    address: the address.

    Raises:
        UserError: when it has another form.
    """
    scheme, with_scheme, _ = address.value.partition("://")
    if with_scheme:
        raise UserError(f"{address} {_of_scheme(scheme)}")
    host, _, port = address.value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or any(c.isspace() or c == "/" for c in host) or not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(
            f"{address} is no address of a Ray cluster: needs HOST:PORT, such as 10.0.0.1:6379, or 'auto' for the Ray "
            "that runs on this machine, or '' to start one"
        )
    return host, int(port)


def _of_scheme(scheme: str) -> str:
    """Why an address with a scheme is none, and what to use."""
    if scheme == "ray":
        return (
            "is an address of Ray Client, through which the job cannot run: it has to be on a machine of the cluster. "
            f"Start it there with HOST:6379 or 'auto', or send it there: {_SUBMIT}"
        )
    if scheme in ("http", "https"):
        return f"is the address of a dashboard, which takes jobs and cannot be joined. Send the job there: {_SUBMIT}"
    return "is no address of a Ray cluster: needs HOST:PORT without a scheme, such as 10.0.0.1:6379"

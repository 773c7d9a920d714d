"""The address of a Ray cluster: its forms, and whether anything answers there, before Ray waits for minutes."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from pipelines.config.tables import RayOptions
from pipelines.errors import UserError

VARIABLE = "RAY_ADDRESS"
_SECONDS = 10.0
_OWN, _ANY = "local", "auto"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SETTINGS = b"\x04"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""How an HTTP/2 connection begins: these words, and a frame of settings, here an empty one. Both sides send one."""
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
    if address.value != _ANY:
        _host_and_port(address)
    return address


def reach(address: Address) -> None:
    """Check that a Ray cluster answers at an address and lets this process in; `ray.init` would try for minutes.

    address: the address.

    Raises:
        UserError: when none does within some seconds.
    """
    if address.value == _ANY:
        return  # Ray reads it from the files of the Ray that runs here
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # its stub leaves it out
    from ray.exceptions import AuthenticationError, RpcError
    from ray.util import get_node_ip_address

    host, port = _host_and_port(address)
    if host in _LOOPBACK:
        host = get_node_ip_address()  # type: ignore[no-untyped-call]  # as Ray does
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            if not os.environ.get("RAY_USE_TLS"):
                _check_http2(connection)
        GcsClient(address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except TimeoutError as error:
        raise _unreachable(address, f"no answer within {_SECONDS:g} s") from error
    except OSError as error:
        raise _unreachable(address, str(error.strerror or error)) from error
    except AuthenticationError as error:
        raise UserError(
            f"{address}: this Ray cluster asks for a token, and that of this process is missing or wrong: set "
            "RAY_AUTH_MODE=token here, and the cluster's token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from error
    except RpcError as error:
        raise _unreachable(address, f"what answers there is not the head of one ({error})") from error


def _check_http2(connection: socket.socket) -> None:
    """Raise OSError where the other side does not begin as gRPC does, by which Ray speaks."""
    connection.sendall(_PREFACE)
    if connection.recv(9)[3:4] != _SETTINGS:
        raise OSError("what answers there is not Ray")


def _unreachable(address: Address, why: str) -> UserError:
    return UserError(
        f"{address}: cannot reach this Ray cluster: {why}. Does its head run there (`ray start --head`), with this "
        "port (6379 unless chosen), and may this machine connect to it?"
    )


def _host_and_port(address: Address) -> tuple[str, int]:
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

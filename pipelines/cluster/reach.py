"""Does a Ray cluster answer at an address? `ray.init` would try for minutes, without a word."""

from __future__ import annotations

import os
import socket

from pipelines.cluster.address import ANY, Address, host_and_port
from pipelines.errors import UserError

_SECONDS = 10.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SETTINGS = b"\x04"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""How an HTTP/2 connection begins: these words, and a frame of settings, here an empty one. Both sides send one."""


def reach(address: Address) -> None:
    """Check that a Ray cluster answers at an address and lets this process in.

    address: the address.

    Raises:
        UserError: when none does within some seconds.
    """
    if address.value == ANY:
        return  # Ray reads it from the files of the Ray that runs here
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # its stub leaves it out
    from ray.exceptions import AuthenticationError, RpcError
    from ray.util import get_node_ip_address

    host, port = host_and_port(address)
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

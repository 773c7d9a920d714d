"""The address of a cluster: what cannot be one, and what does not answer, is said at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pipelines.cluster import address, reach
from pipelines.cluster.address import Address, address_of
from pipelines.config.tables import RayOptions
from pipelines.errors import UserError


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(address.VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ray://head:10001", ["Ray Client", "HOST:6379", "ray job submit --address http://HOST:8265"]),
        ("http://head:8265", ["dashboard", "ray job submit"]),
        ("https://head", ["dashboard", "ray job submit"]),
        ("grpc://head:6379", ["without a scheme"]),
        ("head", ["needs HOST:PORT"]),
        ("head:", ["needs HOST:PORT"]),
        (":6379", ["needs HOST:PORT"]),
        ("head:ray", ["needs HOST:PORT"]),
        ("head:0", ["needs HOST:PORT"]),
        ("head:70000", ["needs HOST:PORT"]),
        ("head:-1", ["needs HOST:PORT"]),
        ("head 1:6379", ["needs HOST:PORT"]),
        ("head:6379/path", ["needs HOST:PORT"]),
        ("Auto", ["'auto'"]),
    ],
)
@pytest.mark.parametrize("setting", ["ray.address", "RAY_ADDRESS"])
def test_what_is_no_address_of_a_cluster(
    value: str, words: list[str], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", value)
    options = RayOptions(address=value if setting == "ray.address" else "")
    with pytest.raises(UserError) as raised:
        address_of(options)
    for word in [f"{setting} = {value!r}", *words]:
        assert word in str(raised.value)


def test_the_setting_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of(RayOptions()) is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address_of(RayOptions()) == Address(setting="RAY_ADDRESS", value="10.0.0.1:6379")
    assert address_of(RayOptions(address=" [::1]:6379 ")) == Address(setting="ray.address", value="[::1]:6379")
    assert address_of(RayOptions(address="auto")) == Address(setting="ray.address", value="auto")
    assert address_of(RayOptions(address="local")) is None


@contextmanager
def listening(answer: bytes | None) -> Iterator[Address]:
    """A server that answers each connection with these bytes; None: whose connections wait for ever."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("", 0))
        server.listen(0)
        port: int = server.getsockname()[1]
        if answer is None:
            for _ in range(2):  # fills the queue
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
        else:
            threading.Thread(target=lambda: server.accept()[0].sendall(answer), daemon=True).start()
        yield Address(setting="ray.address", value=f"localhost:{port}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "no answer within 0.3 s"), (b"HTTP/1.1 400 Bad Request\r\n", "not Ray"), (b"", "(not Ray|reset)")],
)
def test_what_is_not_ray_takes_seconds(answer: bytes | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_SECONDS", 0.3)
    with listening(answer) as there, pytest.raises(UserError, match=rf"{there.value}'.* {words}.*port \(6379"):
        reach.reach(there)


def test_an_address_where_nothing_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("", 0))
        there = Address(setting="ray.address", value=f"127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(UserError, match="Connection refused"):
            reach.reach(there)
    with pytest.raises(UserError, match=r"'no-such-host.invalid:6379': cannot reach this Ray cluster"):
        reach.reach(Address(setting="ray.address", value="no-such-host.invalid:6379"))

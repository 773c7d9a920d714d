"""Starts the endpoint on this machine or a cluster, and ends it when it is told to: nobody's request is cut off."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.cluster.session import stoppable
from pipelines.errors import UserError
from pipelines.serve import keys, proxy, traces
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import offered

NAME = "raydiance"
_MARGIN_SECONDS = 10.0
"""Between the end of the last request and the word of it."""


def launch(args: ServeArgs, *, host: str, port: int, address: str) -> None:
    """Serve until SIGINT or SIGTERM comes, and the requests that have begun are answered.

    args: the settings.
    host, port: where it listens.
    address: of a Ray cluster; "local" starts Ray on this machine, without a dashboard.

    Raises:
        Stopped: on SIGTERM while it starts.
        UserError: when a setting does not fit, keys are missing, or it cannot listen there.
        RuntimeError: when the endpoint cannot start.
    """
    keys.require_for(host, keys.read(args.api_keys_file), allow_anonymous=args.allow_anonymous)
    traces.check(args.traces)
    if address == "local":  # of a cluster, the head node listens, which may be another machine
        require_free(host, port)
    names = ", ".join(one.name for one in offered(args))  # what is wrong is said before Ray starts
    import ray
    from ray import serve

    from pipelines.serve.app import app, shutdown_s

    os.environ[proxy.VARIABLE] = proxy.PLACE  # for the processes of Ray that are started here
    ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    try:
        with stoppable():  # while it starts, and a second time while it ends
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
            serve.run(app(args), name=NAME)
            with _told() as told:
                print(f"{names} answers at http://{host}:{port}; Ctrl-C ends it", flush=True)
                told.wait()
            print("ending: requests that have begun are answered, no others are taken; Ctrl-C ends at once", flush=True)
            seconds = shutdown_s(args)
            left = serve.get_app_handle(NAME).close.remote(seconds).result(timeout_s=seconds + _MARGIN_SECONDS)
            print(f"ended; {left} requests were cut off" if left else "ended", flush=True)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def require_free(host: str, port: int) -> None:
    """Check that a server can listen on this machine.

    host, port: where.

    Raises:
        UserError: when another program listens there, or none may.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: needs 1 to 65535")
    try:
        (family, kind, protocol, _, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: after one has ended, too
            probe.bind(place)
    except OSError as error:
        reason = "another program listens there" if error.errno == errno.EADDRINUSE else str(error)
        raise UserError(f"--host {host} --port {port}: {reason}; name another with --port, or --host") from None


@contextmanager
def _told() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, while the block runs."""
    told = threading.Event()
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""A proxy before a real S3 server that breaks a share of the requests in the ways in which networks and S3 do."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NO_WRITES = ("no_writes",)
"""What somebody meets who may only read; not among `FAULTS`, as it does not pass."""
FAULTS = ("slow_down", "server_error", "error_after_success", "reset", "cut", "stall")
_XML = "<?xml version='1.0'?><Error><Code>{}</Code><Message>injected</Message></Error>"


class FlakyProxy(ThreadingHTTPServer):
    """share: how many requests are broken, 0 to 1; injected: how often each fault happened."""

    daemon_threads = True

    def __init__(self, target: str, share: float, stall_seconds: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.share = share
        self.faults: tuple[str, ...] = FAULTS
        self.stall_seconds = stall_seconds
        self.injected: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self) -> str:
        with self._lock:
            fault = self._dice.choice(self.faults) if self._dice.random() < self.share else ""
            self.injected[fault] += bool(fault)
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlakyProxy

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.draw()
        if fault == "stall":
            time.sleep(self.server.stall_seconds)
        elif fault == "reset":
            return self._reset()
        elif fault == "no_writes" and self.command == "PUT":
            return self._answer(403, {"Content-Type": "application/xml"}, _XML.format("AccessDenied").encode())
        elif fault in ("slow_down", "server_error"):
            code, name = (503, "SlowDown") if fault == "slow_down" else (500, "InternalError")
            return self._answer(code, {"Content-Type": "application/xml"}, _XML.format(name).encode())
        status, headers, answer = self._forward(body)
        if fault == "error_after_success":
            return self._answer(500, {"Content-Type": "application/xml"}, _XML.format("InternalError").encode())
        if fault == "cut":
            self._answer(status, headers, answer, cut=True)
            return self._reset()
        return self._answer(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        try:  # with the caller's Host header, which its signature covers
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


@contextmanager
def flaky_proxy(target: str, *, share: float, stall_seconds: float = 2.0, seed: int = 0) -> Iterator[FlakyProxy]:
    """Run the proxy; its address is `http://127.0.0.1:{proxy.server_port}`."""
    proxy = FlakyProxy(target, share, stall_seconds, seed)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()

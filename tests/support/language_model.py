"""A language model's endpoint on this machine, which fails in every way that it is told to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

KEY = "sk-secret"


class Model(ThreadingHTTPServer):
    """An endpoint that writes two scenes for each prompt, after the faults that are laid out for it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.faults: dict[str, list[Any]] = {}
        """Prompt -> what happens to the requests for it, in order: a status, a text of a message, or a word."""
        self.asked: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def subject(self, body: dict[str, Any]) -> str:
        """What a request is about."""
        return str(re.findall(r": (a [^.]+)\.", body["messages"][0]["content"])[0])

    def choice(self, prompt: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, where nothing else happens."""
        return said(json.dumps([f"{prompt} at home", f"{prompt} at sea"]))


def said(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


class Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = self.server.subject(body)
        with self.server.lock:
            self.server.asked[prompt] += 1
            self.server.times.setdefault(prompt, []).append(time.monotonic())
            self.server.requests.append(body)
            self.server.keys.add(self.headers.get("Authorization"))
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
            fault = self.server.faults.get(prompt, [])
            happens = fault.pop(0) if fault else self.server.choice(prompt, body)
        time.sleep(0.01)
        with self.server.lock:
            self.server.at_once -= 1
        if happens == "hangs up":
            self.close_connection = True
        elif happens == "stalls":
            time.sleep(1.0)
        elif isinstance(happens, int):
            self.answer(happens, {"error": f"no, {KEY}!"})
        elif happens == "no JSON":
            self.answer(200, None)
        else:
            self.answer(200, {"choices": [happens if isinstance(happens, dict) else said(happens)]})

    def answer(self, status: int, content: Any) -> None:
        data = b"<html>" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0.2")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


M = TypeVar("M", bound=Model)


@contextmanager
def started(model: M) -> Iterator[M]:
    with model:
        thread = threading.Thread(target=model.serve_forever, args=(0.01,))
        thread.start()
        yield model
        model.shutdown()
        thread.join()

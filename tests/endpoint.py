"""A chat endpoint on a real socket that answers as it is told: right, slow, wrong, throttled, not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint(ThreadingHTTPServer):
    """Answers as it is told: a reply, a status, seconds to wait, in turn and then the last one again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[dict[str, Any]] = [{"text": "Red"}]
        self.requests: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: Any) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        server = self.server
        with server.lock:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = {"path": self.path, "key": self.headers.get("Authorization"), **body}
            server.requests.append(asked)
            told = server.script.pop(0) if len(server.script) > 1 else server.script[0]
            server.at_once += 1
            server.most_at_once = max(server.at_once, server.most_at_once)
        time.sleep(told.get("wait", 0))
        with server.lock:
            server.at_once -= 1
        reply = told.get("raw")
        if reply is None:
            message = {"message": {"role": "assistant", "content": told.get("text", "")}}
            usage = {"prompt_tokens": 1_000, "completion_tokens": 10}
            reply = json.dumps({"choices": [message], "usage": usage})
        self.send_response(told.get("status", 200))
        for name, value in told.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.encode()) + told.get("missing", 0)))
        self.end_headers()
        if drip := told.get("drip"):
            for byte in reply.encode():
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(drip)
        else:
            self.wfile.write(reply.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at requests."""


@contextmanager
def serving() -> Iterator[Endpoint]:
    """One that is there until the end of the block."""
    server = Endpoint()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()

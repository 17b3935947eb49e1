"""Nothing leaves the machine: a program that watches every connection of a whole session."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pointsman.workspace import SPECIALISTS, Workspace
from spaces import (
    READER,
    change_settings,
    default_backbone,
    write_corpus,
    write_notes,
    write_reader,
)

# The interpreter itself reports what Python code does with sockets, whichever way it got there;
# what native code does would go to the proxy, at which nobody but this test listens.
PROGRAM = """
import json, sys

attempts = []

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
                 "socket.sendmsg", "urllib.Request", "http.client.connect"):
        attempts.append(f"{event} {args[1:]!r}")
        raise OSError("the network is watched")

sys.addaudithook(watch)

from pathlib import Path
from pointsman import PointsmanError, Workspace

root = Path(sys.argv[1])
with Workspace.open(root / "space") as space:
    reports = space.index([root / "notes", root / "corpus"])
    answer = space.ask("Who designed the first iron bridge?")
    found = space.search("eel")
quiet = list(attempts)

# The watcher does see a connection: the one that somebody asks for by a name on the hub.
try:
    Workspace.create(root / "far", backbone="nobody/no-such-model").backbone
    refusal = ""
except PointsmanError as error:
    refusal = str(error)
print(json.dumps([sum(r.added for r in reports), answer.text, len(found), quiet, attempts, refusal]))
"""


def test_a_whole_session_makes_no_connection(tmp_path: Path) -> None:
    write_notes(tmp_path / "notes")
    write_corpus(tmp_path / "corpus")
    space = Workspace.create(tmp_path / "space")
    write_reader(space.path / SPECIALISTS / READER, default_backbone())
    change_settings(space.path, device="cpu", read={"reader": READER, "min_confidence": 0.0})
    # No switch that would keep a library from asking.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "TRANSFORMERS_", "POINTSMAN_"))
        and name.upper() not in ("DO_NOT_TRACK", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
    }
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environment |= dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"], address)
        environment |= dict.fromkeys(["http_proxy", "https_proxy", "all_proxy"], address)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            env=environment | {"HF_HOME": str(tmp_path / "hub"), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        callers = []
        with suppress(BlockingIOError):
            callers.append(proxy.accept()[1])
    added, answer, found, quiet, attempts, refusal = json.loads(done.stdout.splitlines()[-1])
    assert (added, found) == (6, 6)
    assert answer
    assert quiet == []
    assert callers == []
    assert attempts  # the watcher sees what there is to see
    assert refusal.startswith("nobody/no-such-model: neither a directory here nor a model")

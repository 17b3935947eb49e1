"""`pointsman specialists`: a row for each, a fault by name, ways in and out, and a hub to push to."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from command_line import invoke, run, write_reader

from pointsman.backbone.card import read_front_matter
from pointsman.backbone.specialist import load_specialist
from pointsman.workspace import SETTINGS_FILE, SPECIALISTS, Workspace
from tiny import WIDTH, flip_byte, tiny_model

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="session")
def peft_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("peft") / "law"
    config = LoraConfig(target_modules=["query"], r=2, init_lora_weights=False)
    model: Any = get_peft_model(tiny_model(max_position_embeddings=512), config)
    model.save_pretrained(str(folder))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Law\n")
    return folder


@pytest.fixture
def shelf(tmp_path: Path, tiny_folder: Path, peft_folder: Path) -> Path:
    """A directory with a reader, a query expert and a damaged copy of it."""
    folder = tmp_path / "shelf"
    write_reader(folder / "legal", tiny_folder)
    result = invoke(
        "specialists", "import", peft_folder, "--out", folder, "--backbone", tiny_folder
    )
    assert result.exit_code == 0, result.stderr
    shutil.copytree(folder / "law", folder / "damaged")
    flip_byte(folder / "damaged" / WEIGHTS)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


COMMANDS = ["list", "show", "verify", "import", "export", "push"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_stay_on_their_lines(command: str) -> None:
    result = invoke("specialists", command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    lines = [line.strip() for line in result.stdout.splitlines()]
    examples = lines[lines.index("Examples:") + 1 :]
    examples = examples[: examples.index("")]
    assert examples
    assert all(line.startswith(f"pointsman specialists {command}") for line in examples)
    assert f" {command} " in invoke("specialists", "--help").stdout


# --- looking --------------------------------------------------------------------------------------


def test_what_ships(tmp_path: Path) -> None:
    result = invoke("specialists", "list")
    assert result.exit_code == 0
    for said in ("reader", "all-MiniLM-L6-v2", "53aa5117… default", "rank 32", "layers 0–5"):
        assert said in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    shipped = json.loads(invoke("specialists", "list", "--json").stdout)
    assert [each["name"] for each in shipped] == ["grader", "reader", "selector"]
    assert all(each["base"]["default"] for each in shipped)
    reader, selector = shipped[1:]
    assert selector["licences"] == ["CC BY-SA 4.0 (SQuAD), CC BY 4.0 (SQuADShifts)"]
    assert {"grader", "reader", "selector"} <= set(result.stdout.split())
    # Nothing is cut off at the edge.
    assert result.stdout.count("Apache-2.0") == 2
    assert "(SQuADShifts)" in result.stdout
    assert "CC BY-SA 4.0" in reader["licences"]


def test_a_broken_one_is_a_row_with_its_fault(shelf: Path) -> None:
    result = invoke("specialists", "list", shelf)
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:] if line[0] != " "}
    assert "✗ broken" in rows["damaged"]
    assert "encoder" in rows["law"]
    assert "mit" in rows["law"]
    assert "dev 12.5" in rows["legal"]
    assert f"damaged: {shelf}/damaged/{WEIGHTS}: corrupt" in result.stdout
    told = json.loads(invoke("specialists", "list", shelf, "--json").stdout)
    assert [bool(each["fault"]) for each in told] == [True, False, False]
    assert [each["name"] for each in told] == ["damaged", "law", "legal"]


def test_a_workspace_is_a_place(tmp_path: Path, shelf: Path, tiny_folder: Path) -> None:
    space = Workspace.create(tmp_path / "space", backbone=tiny_folder).path
    empty = invoke("specialists", "list", space)
    assert empty.exit_code == 3
    assert "has no specialists of its own" in empty.stderr
    shutil.copytree(shelf / "law", space / SPECIALISTS / "law")
    [it] = json.loads(invoke("specialists", "list", space, "--json").stdout)
    assert it["name"] == "law"
    # It is its own encoder that they have to fit.
    assert (space / SETTINGS_FILE).is_file()
    assert invoke("specialists", "verify", space).exit_code == 0


def test_show(shelf: Path) -> None:
    result = invoke("specialists", "show", shelf / "law")
    assert result.exit_code == 0
    for said in ("law: a query encoder", "Licence: mit.", "base.sha256", "training.source "):
        assert said in result.stdout
    told = json.loads(invoke("specialists", "show", shelf / "law", "--json").stdout)
    assert told["adapter"] == {
        "ranks": [2],
        "linear": 2,
        "layers": [0, 1],
        "weights": 2 * 4 * WIDTH,
    }
    assert told["card"].startswith("# law: a query encoder")
    assert "a span reader" in invoke("specialists", "show", "reader").stdout
    for name, said in (
        ("lwa", "(these do: grader, reader, selector)"),
        (shelf, "not a specialist"),
    ):
        failed = invoke("specialists", "show", name)
        assert failed.exit_code == 6
        assert said in failed.stderr


def test_verify(shelf: Path, tiny_folder: Path) -> None:
    assert invoke("specialists", "verify").exit_code == 0
    assert invoke("specialists", "verify", "reader").exit_code == 0
    whole = ["specialists", "verify", shelf / "law", shelf / "legal", "--backbone", tiny_folder]
    result = invoke(*whole)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.count(f"✓  {WEIGHTS}") == 2
    damaged = invoke("specialists", "verify", shelf, "--backbone", tiny_folder)
    assert damaged.exit_code == 6
    assert f"✗  {WEIGHTS}" in damaged.stdout
    assert f"Not as recorded: {shelf / 'damaged'}" in damaged.stdout
    told = json.loads(
        invoke("specialists", "verify", shelf, "--backbone", tiny_folder, "--json").stdout
    )
    assert [each["fine"] for each in told] == [False, True, True]
    other = invoke("specialists", "verify", shelf / "law")
    assert other.exit_code == 6
    assert "✗  base" in other.stdout
    nothing = invoke("specialists", "verify", tiny_folder)
    assert nothing.exit_code == 3
    assert "no specialists here" in nothing.stderr


# --- in and out -----------------------------------------------------------------------------------


def test_import_replaces_nothing(shelf: Path, peft_folder: Path, tiny_folder: Path) -> None:
    before = contents(shelf)
    command = ["specialists", "import", peft_folder, "--out", shelf, "--backbone", tiny_folder]
    again = invoke(*command)
    assert again.exit_code == 3
    assert "law: is there already, and is not replaced; use another --name" in again.stderr
    assert contents(shelf) == before
    assert invoke(*command, "--name", "../law").exit_code == 3
    assert contents(shelf.parent).keys() == {f"shelf/{name}" for name in before}
    named = invoke(*command, "--name", "jura", "--json")
    assert json.loads(named.stdout)["name"] == "jura"
    assert load_specialist(shelf / "jura", "encoder").name == "jura"


def test_import_says_what_it_cannot_find(tmp_path: Path) -> None:
    for source, said, code in (
        ("somewhere", "somewhere: neither a directory nor a name on the hub", 3),
        ("./org/name", "neither a directory nor a name on the hub", 3),
        ("org/name", "HF_HUB_OFFLINE is set, and the local cache does not hold it", 6),
    ):
        result = invoke("specialists", "import", source, "--out", tmp_path / "out")
        assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_import_of_another_kind(tmp_path: Path, peft_folder: Path) -> None:
    command = ["specialists", "import", peft_folder, "--out", tmp_path / "out", "--kind", "reader"]
    result = invoke(*command)
    assert result.exit_code == 2
    assert "encoder" in result.stderr


def test_export(tmp_path: Path, shelf: Path, tiny_folder: Path) -> None:
    command = ["specialists", "export", shelf / "law", "--to", tmp_path / "out", "--format"]
    result = invoke(*command, "peft")
    assert result.exit_code == 0, result.stderr
    assert contents(tmp_path / "out").keys() == {"README.md", "adapter_config.json", WEIGHTS}
    before = contents(tmp_path)
    again = invoke(*command, "sentence-transformers", "--backbone", tiny_folder)
    assert again.exit_code == 3
    assert "is not replaced" in again.stderr
    reader = invoke(
        "specialists", "export", shelf / "legal", "--to", tmp_path / "st",
        "--format", "sentence-transformers", "--backbone", tiny_folder,
    )  # fmt: skip
    assert reader.exit_code == 6
    assert "its head has no place in a sentence encoder" in reader.stderr
    assert contents(tmp_path) == before
    head = invoke("specialists", "export", "reader", "--to", tmp_path / "r", "--format", "peft")
    assert "Its head is not part of PEFT's format" in head.stderr
    config = json.loads((tmp_path / "r" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_exported_model_loads(tmp_path: Path, shelf: Path, tiny_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    result = invoke(
        "specialists", "export", shelf / "law", "--to", tmp_path / "st",
        "--format", "sentence-transformers", "--backbone", tiny_folder,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    model = SentenceTransformer(str(tmp_path / "st"), device="cpu", local_files_only=True)
    assert model.encode(["alpha"]).shape == (1, WIDTH)


# --- the hub --------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """As much of the hub as pushing a small repository and fetching it again needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.forbidden = False
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    COMMIT = "0123456789" * 4

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.forbidden:
            self._json({"error": "You may not write here"}, 403)
        elif self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self._json({"url": f"{self.server.address}/org/law"})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            told = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in files
            ]
            self._json({"files": told})
        elif self.path.endswith("/commit/main"):
            for line in body.splitlines():
                each = json.loads(line)
                if each["key"] == "file":
                    content = base64.b64decode(each["value"]["content"])
                    self.server.files[each["value"]["path"]] = content
            address = f"{self.server.address}/org/law/commit/{self.COMMIT}"
            self._json({"commitUrl": address, "commitOid": self.COMMIT})
        else:  # such as the check of a card's front matter
            self._json({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        if "/resolve/" in self.path and name in self.server.files:
            content = self.server.files[name]
            tag = hashlib.sha1(content).hexdigest()
            self._send(content, 200, {"ETag": f'"{tag}"', "X-Repo-Commit": self.COMMIT})
        elif "/tree/" in self.path:
            self._json(
                [
                    {
                        "type": "file",
                        "path": path,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for path, content in self.server.files.items()
                ]
            )
        elif self.path.startswith("/api/models/org/law"):
            siblings = [{"rfilename": path} for path in self.server.files]
            self._json({"id": "org/law", "sha": self.COMMIT, "siblings": siblings})
        else:
            self._json({"error": "not found"}, 404)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def online(hub: Hub, home: Path) -> dict[str, str]:
    """Variables with which the hub's client knows no hub but this one."""
    return {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "HUB_TOKEN": "hf_secret",
    }


def test_push_and_import_again(tmp_path: Path, shelf: Path, tiny_folder: Path, hub: Hub) -> None:
    folder = shelf / "law"
    (folder / "private-notes.txt").write_text("not for others")
    before = contents(folder)
    env = online(hub, tmp_path / "home")
    result = run(
        "specialists", "push", folder, "org/law", "--private", "--token-env", "HUB_TOKEN", env=env
    )
    assert result.returncode == 0, result.stderr
    assert f"{hub.address}/org/law" in result.stdout
    assert hub.tokens == {"Bearer hf_secret"}
    [made] = hub.made
    assert made["name"] == "law"
    assert made["organization"] == "org"
    assert made.get("private") is True or made.get("visibility") == "private"
    assert hub.files.keys() == before.keys() - {"private-notes.txt"}
    assert hub.files[WEIGHTS] == before[WEIGHTS]
    said = read_front_matter(hub.files["README.md"].decode())
    assert said["library_name"] == "peft"
    assert said["license"] == "mit"
    assert contents(folder) == before
    fetched = run(
        "specialists", "import", "org/law", "--out", tmp_path / "out", "--backbone", tiny_folder,
        env=env,
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    assert "Fetching" not in fetched.stderr
    assert contents(tmp_path / "out" / "law")[WEIGHTS] == before[WEIGHTS]


def test_a_refused_push_is_one_line_without_the_token(
    tmp_path: Path, shelf: Path, hub: Hub
) -> None:
    hub.forbidden = True
    command = ["specialists", "push", shelf / "law", "org/law", "--token-env", "HUB_TOKEN"]
    result = run(*command, env=online(hub, tmp_path / "home"))
    assert result.returncode == 6
    assert "org/law: the hub refused it" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "hf_secret" not in result.stderr
    assert hub.files == {}


def test_push_without_what_it_needs(shelf: Path) -> None:
    for name, repository, env, code, said in (
        ("law", "org/law", {"HF_TOKEN": ""}, 4, "HF_TOKEN is not set"),
        ("law", "org/law", {"HF_TOKEN": "hf_secret"}, 4, "HF_HUB_OFFLINE is set, so nothing"),
        ("law", "law", {"HF_TOKEN": "hf_secret"}, 3, "'law' is not the name of a repository"),
        ("damaged", "org/law", {"HF_TOKEN": "hf_secret"}, 6, f"{WEIGHTS}: corrupt"),
    ):
        result = invoke("specialists", "push", shelf / name, repository, env=env)
        assert (result.exit_code, said in result.stderr) == (code, True), result.stderr

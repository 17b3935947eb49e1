"""`pointsman experts`: what there is, what comes and goes, and that nothing is lost on the way."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from command_line import invoke, write_reader

from domains import make_queries
from pointsman import workspace as workspaces
from pointsman.backbone import specialist as specialists
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.specialist import load_specialist
from pointsman.cli.experts import read_texts
from pointsman.errors import FormatError, InputError
from pointsman.route.expert import Expert, domain_of, load_expert, save_expert
from spaces import random_adapter
from tiny import flip_byte, tiny_model, write_tiny

NUMBERS = {"dev": {"measure": "nDCG@10", "base": 0.5, "best": 0.625}}


@pytest.fixture(scope="session")
def base(tiny_folder: Path) -> Backbone:
    return Backbone.load(tiny_folder, device="cpu", dtype="fp32")


def write_expert(folder: Path, backbone: Backbone, shift: int = 0, domain: bool = True) -> Path:
    """An expert that has learned nothing, for a domain of 40 queries."""
    texts = [query.text for query in make_queries(40, seed=shift + 1)]
    moments = domain_of(backbone, texts) if domain else None
    identity = backbone.identity
    save_expert(
        Expert(folder.name, random_adapter(backbone, shift), identity.sha256, moments),
        identity,
        folder,
        training={"licences": {"letters": "CC BY 4.0"}},
        numbers=NUMBERS,
        card=f"# {folder.name}: a query expert\n",
    )
    return folder


@pytest.fixture(autouse=True)
def nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ships with the package changes; these tests say what there is."""
    monkeypatch.setattr(workspaces, "SHIPPED_EXPERTS", tmp_path / "none")


@pytest.fixture
def own(space: Path, tmp_path: Path) -> Path:
    """A workspace of the test's own, with documents in it."""
    return Path(shutil.copytree(space, tmp_path / "own"))


@pytest.fixture
def law(tmp_path: Path, base: Backbone) -> Path:
    return write_expert(tmp_path / "elsewhere" / "law", base)


@pytest.fixture
def shipped(tmp_path: Path, base: Backbone, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two experts in the place of those that ship."""
    folder = tmp_path / "shipped"
    write_expert(folder / "code", base, 3)
    write_expert(folder / "shop", base, 4)
    monkeypatch.setattr(workspaces, "SHIPPED_EXPERTS", folder)
    return folder


@pytest.fixture(scope="session")
def peft_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("peft") / "deeds"
    config = LoraConfig(target_modules=["query"], r=2, init_lora_weights=False)
    model: Any = get_peft_model(tiny_model(max_position_embeddings=512), config)
    model.save_pretrained(str(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(space: Path, env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    result = invoke("experts", "list", space, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    return {row["name"]: row for row in json.loads(result.stdout)}


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.stderr
    return result


def refused(
    space: Path, env: Mapping[str, str], words: Sequence[object], code: int, *parts: str
) -> None:
    """One line that holds these parts, and a workspace that is as it was."""
    before = contents(space)
    result = invoke("experts", words[0], space, *words[1:], env=env)
    assert result.exit_code == code, result.stderr
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr
    assert contents(space) == before


@pytest.mark.parametrize("command", ["list", "add", "remove", "card"])
def test_help_has_examples_that_stay_on_their_lines(command: str) -> None:
    result = invoke("experts", command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    lines = [line.strip() for line in result.stdout.splitlines()]
    examples = lines[lines.index("Examples:") + 1 :]
    examples = examples[: examples.index("")]
    assert examples
    assert all(line.startswith(f"pointsman experts {command}") for line in examples)
    assert f" {command} " in invoke("experts", "--help").stdout


# --- looking --------------------------------------------------------------------------------------


def test_none(own: Path, tiny: Mapping[str, str]) -> None:
    assert rows(own, tiny) == {}
    said = invoke("experts", "list", own, env=tiny).stdout
    assert said == "No query experts: the base embeds every question.\n"


def test_a_row_says_what_there_is_to_know(own: Path, law: Path, tiny: Mapping[str, str]) -> None:
    done(invoke("experts", "add", own, law, env=tiny))
    assert rows(own, tiny)["law"] == {
        "name": "law",
        "from": "space",
        "folder": str(own / "specialists" / "law"),
        "queries": 40,
        "dev": NUMBERS["dev"],
        "licences": ["CC BY 4.0"],
        "used": True,
        "reason": "",
    }
    shown = invoke("experts", "list", own, env=tiny).stdout
    assert "nDCG@10 50.0 → 62.5" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "a query expert" in done(invoke("experts", "card", own, "law", env=tiny)).stdout
    card = json.loads(invoke("experts", "card", own, "law", "--json", env=tiny).stdout)
    assert card["card"] == "# law: a query expert\n"


def test_what_cannot_be_used_says_why_and_the_rest_works(
    own: Path, base: Backbone, tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    place = own / "specialists"
    other = Backbone.load(write_tiny(tmp_path / "other", seed=7), device="cpu", dtype="fp32")
    write_expert(place / "law", base)
    write_expert(place / "foreign", other)
    write_expert(place / "aimless", base, domain=False)
    write_expert(place / "base", base)
    flip_byte(write_expert(place / "broken", base) / "adapter_model.safetensors")
    write_reader(place / "legal", Path(tiny["POINTSMAN_BACKBONE"]))
    env = {**tiny, "POINTSMAN_ROUTE__EXPERTS": "law, foreign,aimless,base,broken,gone"}
    found = rows(own, env)
    assert {name: row["used"] for name, row in found.items()} == {
        "aimless": False,
        "base": False,
        "broken": False,
        "foreign": False,
        "law": True,
        "gone": False,
    }
    reasons = {name: row["reason"] for name, row in found.items()}
    assert reasons["foreign"] == (
        f"made on other ({other.identity.sha256[:12]}…), "
        f"the base here is tiny ({base.identity.sha256[:12]}…)"
    )
    assert "has no domain to be chosen by" in reasons["aimless"]
    assert "is what the encoder itself is called" in reasons["base"]
    assert "corrupt" in reasons["broken"]
    assert reasons["gone"] == "there is no expert of this name"

    asked = done(invoke("ask", own, "What follows alpha?", "--trace", env=env))
    [line] = [line for line in asked.stderr.splitlines() if line]
    assert line.startswith("left out: foreign, made on other (")
    assert line.endswith("gone, there is no expert of this name")
    told = json.loads(invoke("info", own, "--json", env=env).stdout)["experts"]
    assert told["used"] == ["law"]
    assert told["left_out"] == {name: reasons[name] for name in told["left_out"]}
    assert told["left_out"].keys() == found.keys() - {"law"}
    info = invoke("info", own, env=env).stdout
    assert "left_out.gone" in info
    assert max(map(len, info.splitlines())) <= 80
    # Who wants the base alone is not told what it does without.
    plain = {**env, "POINTSMAN_ROUTE__ROUTER": "base"}
    asked = done(invoke("ask", own, "What follows alpha?", env=plain))
    assert asked.stderr == ""
    assert "route base →" in asked.stdout
    assert rows(own, plain)["law"]["reason"] == "route.router is base"
    # Neither is anybody who has named those that there are to be.
    chosen = {**tiny, "POINTSMAN_ROUTE__EXPERTS": "law"}
    assert done(invoke("ask", own, "What follows alpha?", env=chosen)).stderr == ""
    assert rows(own, chosen)["broken"]["reason"].count("corrupt") == 1


def test_the_trace_shows_every_experts_weight(
    own: Path, base: Backbone, tiny: Mapping[str, str]
) -> None:
    write_expert(own / "specialists" / "law", base, 0)
    write_expert(own / "specialists" / "tax", base, 5)
    question = make_queries(1, seed=1)[0].text
    answer = json.loads(invoke("ask", own, question, "--json", env=tiny).stdout)
    route = answer["trace"]["steps"][0]
    assert sorted(route["options"]) == ["base", "law", "tax"]
    assert sum(route["scores"]) == pytest.approx(1, abs=1e-5)
    shown = done(invoke("ask", own, question, "--trace", env=tiny)).stdout
    tree = shown[shown.index("├─ route") : shown.index("├─ retrieve")]
    for name, weight in zip(route["options"], route["scores"], strict=True):
        assert f"{'●' if weight > 0 else '○'}   {weight:.3f}  {name}" in tree
    assert f"route {'+'.join(route['choice'])} →" in shown
    # Words alone are searched for without vectors.
    words = invoke("ask", own, question, "--mode", "bm25", env=tiny)
    assert "route base →" in done(words).stdout


# --- adding ---------------------------------------------------------------------------------------


def test_two_of_one_name(own: Path, law: Path, base: Backbone, tiny: Mapping[str, str]) -> None:
    done(invoke("experts", "add", own, law, env=tiny))
    refused(own, tiny, ["add", law], 3, "has an expert 'law' already", "--replace", "--name")
    done(invoke("experts", "add", own, law, "--name", "tax", env=tiny))
    assert load_specialist(own / "specialists" / "tax").name == "tax"
    other = write_expert(law.parent / "second" / "law", base, 9)
    done(invoke("experts", "add", own, other, "--replace", env=tiny))
    assert sorted(rows(own, tiny)) == ["law", "tax"]
    written = load_specialist(own / "specialists" / "law").adapter.tensors()
    given = load_specialist(other).adapter.tensors()
    assert all(written[name].equal(given[name]) for name in given)


def test_an_expert_for_another_base(
    own: Path, law: Path, tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    other = Backbone.load(write_tiny(tmp_path / "other", seed=7), device="cpu", dtype="fp32")
    foreign = write_expert(tmp_path / "elsewhere" / "foreign", other)
    refused(own, tiny, ["add", foreign], 6, "made on other (", "own uses tiny (", "train it on")


def test_an_expert_that_does_not_fit_its_own_base(
    own: Path, base: Backbone, tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    """The base's hash is right, but a layer is not there, or has another shape."""
    layers = dict(random_adapter(base).layers)
    name, pair = next(iter(layers.items()))
    narrow = dataclasses.replace(pair, a=pair.a[:, :-1].contiguous())
    for changed, said in (
        ({"encoder.gone": pair}, "law: the adapter changes 'encoder.gone', which tiny does not"),
        ({name: narrow}, f"law: the adapter's {name} maps 31 to 32 dimensions, tiny's 32 to 32"),
    ):
        folder = tmp_path / "elsewhere" / "law"
        identity = base.identity
        domain = domain_of(base, ["what follows alpha"])
        expert = Expert("law", LoraAdapter({**layers, **changed}), identity.sha256, domain)
        save_expert(expert, identity, folder, training={}, numbers={}, card="")
        refused(own, tiny, ["add", folder], 6, said)


def test_what_comes_in_is_read_once(
    own: Path, law: Path, tiny: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    read_adapter = specialists.read_adapter

    def counted(folder: Path) -> LoraAdapter:
        read.append(folder)
        return read_adapter(folder)

    monkeypatch.setattr(specialists, "read_adapter", counted)
    done(invoke("experts", "add", own, law, env=tiny))
    assert read.count(law) == 1


def test_a_peft_folder_needs_queries_for_its_domain(
    own: Path, peft_folder: Path, tmp_path: Path, base: Backbone, tiny: Mapping[str, str]
) -> None:
    refused(own, tiny, ["add", peft_folder], 3, "deeds: has no domain", "--queries FILE")
    file = tmp_path / "asked.txt"
    file.write_text("what follows alpha\n\n  what is gamma \n", "utf-8")
    added = done(invoke("experts", "add", own, peft_folder, "--queries", file, env=tiny))
    assert added.stdout == "Added deeds, with a domain of 2 queries.\n"
    assert rows(own, tiny)["deeds"]["used"]
    made = load_expert(own / "specialists" / "deeds").domain
    expected = domain_of(base, ["what follows alpha", "what is gamma"])
    assert made is not None
    assert made.mean == pytest.approx(expected.mean, abs=0.02)


def test_queries_replace_a_domain(
    own: Path, law: Path, tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_text('{"_id": "1", "text": "what follows alpha"}\n', "utf-8")
    done(invoke("experts", "add", own, law, "--queries", file, env=tiny))
    assert rows(own, tiny)["law"]["queries"] == 1
    assert load_specialist(law).settings["domain"]["queries"] == 40


def test_what_cannot_be_added(
    own: Path, law: Path, tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    reader = write_reader(tmp_path / "legal", Path(tiny["POINTSMAN_BACKBONE"]))
    write_reader(own / "specialists" / "mine", Path(tiny["POINTSMAN_BACKBONE"]))
    empty = tmp_path / "asked.txt"
    empty.write_text("\n", "utf-8")
    for words, code, said in (
        ([tmp_path / "gone"], 3, "gone: no such directory"),
        ([empty], 3, "asked.txt: no such directory"),
        ([reader], 6, "a specialist of kind 'reader', but 'encoder' is needed"),
        ([law, "--name", "mine", "--replace"], 3, "mine: is there and is no expert"),
        ([law, "--name", "base"], 3, "'base' is what the encoder itself is called"),
        ([law, "--name", "../law"], 3, "'../law' is not a name for a specialist"),
        ([law, "--queries", empty], 3, "asked.txt: no questions in it"),
        ([law, "--queries", tmp_path / "gone"], 3, "gone: there is no such file"),
        ([tmp_path], 6, "adapter_config.json: missing"),
    ):
        refused(own, tiny, ["add", *words], code, said)
    flip_byte(law / "head.safetensors")
    refused(own, tiny, ["add", law], 6, "head.safetensors: corrupt")


def test_files_of_questions(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_text('{"_id": "1", "text": "one"}\n{"_id": "2"}\n', "utf-8")
    with pytest.raises(FormatError, match=r"queries\.jsonl:2: the field 'text' is missing"):
        read_texts(file)
    plain = tmp_path / "asked"
    plain.write_bytes("\ufeffwho?\r\n\r\nwhat? \n".encode())
    assert read_texts(plain) == ["who?", "what?"]
    with pytest.raises(InputError, match="a file is needed here"):
        read_texts(tmp_path)


# --- removing -------------------------------------------------------------------------------------


def test_one_of_its_own_goes_with_its_folder(
    own: Path, law: Path, base: Backbone, tiny: Mapping[str, str]
) -> None:
    before = contents(own)
    done(invoke("experts", "add", own, law, env=tiny))
    done(invoke("experts", "add", own, law, "--name", "tax", env=tiny))
    write_reader(own / "specialists" / "legal", Path(tiny["POINTSMAN_BACKBONE"]))
    refused(own, tiny, ["remove", "lwa"], 3, "has no expert 'lwa' (it has: law, tax)")
    refused(own, tiny, ["remove", "legal"], 3, "has no expert 'legal' (it has: law, tax)")
    refused(own, tiny, ["card", "lwa"], 3, "has no expert 'lwa' (it has: law, tax)")
    assert "Left: tax." in done(invoke("experts", "remove", own, "law", env=tiny)).stdout
    last = done(invoke("experts", "remove", own, "tax", "--json", env=tiny))
    assert json.loads(last.stdout) == {"removed": "tax", "how": "deleted", "left": []}
    shutil.rmtree(own / "specialists" / "legal")
    assert contents(own) == before
    refused(own, tiny, ["remove", "law"], 3, "has no expert 'law' (it has: none)")


def test_a_broken_one_can_be_removed(own: Path, base: Backbone, tiny: Mapping[str, str]) -> None:
    folder = write_expert(own / "specialists" / "law", base)
    (folder / "specialist.json").write_text("{", "utf-8")
    assert not rows(own, tiny)["law"]["used"]
    refused(own, tiny, ["card", "law"], 6, "corrupt")
    said = done(invoke("experts", "remove", own, "law", env=tiny)).stdout
    assert "No expert is left: the base embeds every question." in said
    assert not folder.exists()


def test_those_that_ship_are_left_out_by_the_setting(
    own: Path, law: Path, shipped: Path, tiny: Mapping[str, str]
) -> None:
    ships = contents(shipped)
    settings = own / "pointsman.yaml"
    settings.write_text(f"# mine\n{settings.read_text('utf-8')}", "utf-8")
    done(invoke("experts", "add", own, law, env=tiny))
    assert {name: row["from"] for name, row in rows(own, tiny).items()} == {
        "code": "shipped",
        "law": "space",
        "shop": "shipped",
    }
    assert "route.experts" in done(invoke("experts", "remove", own, "code", env=tiny)).stdout
    assert settings.read_text("utf-8").startswith("# mine\n")
    assert "  experts: [law, shop]\n" in settings.read_text("utf-8")
    assert rows(own, tiny)["code"]["reason"] == "not among route.experts"
    refused(own, tiny, ["remove", "code"], 3, "'code' is not used as it is", "law, shop")
    # What is added later is used, though the setting lists names; what goes is not missed.
    done(invoke("experts", "add", own, law, "--name", "tax", env=tiny))
    assert rows(own, tiny)["tax"]["used"]
    done(invoke("experts", "remove", own, "law", env=tiny))
    done(invoke("experts", "remove", own, "tax", env=tiny))
    assert "experts: [shop]" in settings.read_text("utf-8")
    last = done(invoke("experts", "remove", own, "shop", env=tiny)).stdout
    assert "No expert is left: the base embeds every question." in last
    assert "route base →" in done(invoke("ask", own, "alpha?", env=tiny)).stdout
    assert contents(shipped) == ships


def test_one_in_the_space_goes_before_one_of_that_name_that_ships(
    own: Path, law: Path, shipped: Path, tiny: Mapping[str, str]
) -> None:
    refused(own, tiny, ["add", law, "--name", "shop"], 3, "has an expert 'shop' already")
    done(invoke("experts", "add", own, law, "--name", "shop", "--replace", env=tiny))
    assert rows(own, tiny)["shop"]["from"] == "space"
    said = done(invoke("experts", "remove", own, "shop", env=tiny)).stdout
    assert "The shop that ships is used from now on." in said
    assert rows(own, tiny)["shop"]["from"] == "shipped"


def test_a_settings_file_that_cannot_be_changed_keeps_both(
    own: Path, law: Path, shipped: Path, tiny: Mapping[str, str]
) -> None:
    done(invoke("experts", "remove", own, "code", env=tiny))
    done(invoke("experts", "add", own, law, env=tiny))
    # What is written aside before it takes the file's place has no place to lie.
    (own / ".pointsman.yaml.aside").mkdir()
    refused(own, tiny, ["remove", "law"], 5, "pointsman.yaml: cannot be written")
    refused(own, tiny, ["remove", "shop"], 5, "pointsman.yaml: cannot be written")
    refused(own, tiny, ["add", law, "--name", "tax"], 5, "pointsman.yaml: cannot be written")
    assert sorted(rows(own, tiny)) == ["code", "law", "shop"]


def test_a_name_in_the_settings_that_nothing_answers_to_can_be_taken_out(
    own: Path, tiny: Mapping[str, str]
) -> None:
    settings = own / "pointsman.yaml"
    settings.write_text("route:\n  experts: [gone]\n", "utf-8")
    assert rows(own, tiny)["gone"]["reason"] == "there is no expert of this name"
    done(invoke("experts", "remove", own, "gone", env=tiny))
    assert settings.read_text("utf-8") == "route:\n  experts: []\n"
    assert rows(own, tiny) == {}

"""A workspace's settings: one YAML file, overridden by the environment, overridden by flags.

The environment speaks as POINTSMAN_SECTION__KEY, for example POINTSMAN_SEARCH__MODE=bm25 or
POINTSMAN_DEVICE=cpu. Secrets are never settings: they are read from the environment where used.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pointsman.errors import ConfigError, ReadOnlyError, WorkspaceError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FORMAT_VERSION = 1
ENVIRONMENT_PREFIX = "POINTSMAN_"

# Where POINTSMAN_… means something other than a setting.
_NOT_SETTINGS = frozenset({"POINTSMAN_CACHE", "POINTSMAN_DEBUG"})


class _Section(BaseModel):
    # Strict, or `price: yes` would quietly be a price of 1; and nothing is without end, or not a number.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PassageSettings(_Section):
    """How long documents are cut. Sizes count characters."""

    size: int = Field(900, ge=50, le=100_000)
    overlap: int = Field(150, ge=0)

    @model_validator(mode="after")
    def _go_forward(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError(f"overlap {self.overlap} must be less than size {self.size}")
        return self


class SearchSettings(_Section):
    """How passages are found: by meaning (dense), by words (bm25), or both fused (hybrid)."""

    mode: Literal["hybrid", "dense", "bm25"] = "hybrid"
    candidates: int = Field(20, ge=1, le=10_000)
    fusion: Literal["rrf", "weighted"] = "weighted"
    dense_weight: float = Field(0.5, ge=0, le=1)


class GradeSettings(_Section):
    """How relevance is judged. `grader` is "none", "default", a path, a name under the specialists, or
    "hf:" and the path or hub name of a Hugging Face cross-encoder or causal language model.

    `weight` is the share of relevance in the order of the passages, the rest is the retrieval
    score's; 0.7 is the best on dev for the grader that ships. Passages of a relevance below
    `min_relevance` are not read.
    """

    grader: str = "none"
    min_relevance: float = Field(0.0, ge=0, le=1)
    weight: float = Field(0.7, ge=0, le=1)


class SelectSettings(_Section):
    """Which passages the reader sees. `selector` is "none" for the first `read.passages` of them,
    "default" for the selector that ships, a path, or the name of one under the specialists, which chooses
    at most as many.
    """

    selector: str = "none"


class ReadSettings(_Section):
    """How answers are read. `reader` is "default", a path, or a name under the specialists.

    Below `min_confidence` there is no answer. The default keeps 98 % of the right answers on dev and
    is silent on half of the questions that have none there (results/answering-dev.md). `seconds` is what
    a question takes here until some were measured, for the unit of that name (`DeferSettings`), and `alpha`
    what an error of the reader weighs, as of other agents (`AgentSettings`).
    """

    reader: str = "default"
    passages: int = Field(5, ge=1, le=1_000)
    n_best: int = Field(3, ge=1, le=100)
    min_confidence: float = Field(0.2, ge=0, le=1)
    seconds: float = Field(0.0, ge=0)
    alpha: float = Field(1.0, ge=0)


class RouteSettings(_Section):
    """Which query experts embed a question. `experts` None: all that there are. `home` names the one
    that questions go to which would else be left to the base: the collection's own expert.

    `whitening` is the strength by which queries are fitted to the collection, 0 for not at all. None:
    what dev gains most by, which is 0.1 where vectors alone are searched, and nothing in hybrid search
    (docs/routing.md).
    """

    router: Literal["mixture", "base"] = "mixture"
    experts: list[str] | None = None
    home: str | None = None
    whitening: float | None = Field(None, ge=0, le=1)


class DeferSettings(_Section):
    """Who answers. `allocator` is "none" for the reader first and others where it is not sure enough, a
    path, or the name of an allocator under the specialists, trained for the agents of this workspace.

    `unit` is what the price weighs of an agent: its dollars, its GFLOPs or its seconds for a question.
    `budget` is the most dollars that agents may take for one question, whatever the unit; null for any.
    """

    allocator: str = "none"
    unit: Literal["dollars", "gflops", "seconds"] = "dollars"
    budget: float | None = Field(None, ge=0)


class AgentSettings(_Section):
    """Another one who may answer: a chat endpoint, a reader, or a file of answers that were given before.

    `url` is the part before /chat/completions of any server of OpenAI's chat completions; `key` names the
    variable of the environment that holds the key. Dollars in and out are for a million tokens, `dollars`
    is for a question of a reader or a file. `gflops` and `seconds`, for a question of anybody, are what the
    price may weigh in their place (`DeferSettings.unit`); a reader's GFLOPs are counted where none are said,
    and seconds are measured once it was asked.
    `reader` is a specialist's name or path, or "hf:NAME" for a question-answering model of Hugging Face's.
    `answers` is a JSON object, question -> answer. `right` is how often it is right where it is asked, until
    something better is known, and `alpha` what an error of its weighs, 1 for as much as a right answer is
    worth. An `extractive` chat agent's answers count where they stand in a passage.
    """

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    url: str = ""
    model: str = ""
    reader: str = ""
    answers: str = ""
    dollars: float = Field(0.0, ge=0)
    key: str = ""
    dollars_in: float = Field(0.0, ge=0)
    dollars_out: float = Field(0.0, ge=0)
    gflops: float = Field(0.0, ge=0)
    seconds: float = Field(0.0, ge=0)
    right: float = Field(0.75, ge=0, le=1)
    alpha: float = Field(1.0, ge=0)
    concurrency: int = Field(8, ge=1, le=1_000)
    timeout: float = Field(30.0, gt=0)
    retries: int = Field(3, ge=0, le=100)
    max_tokens: int = Field(64, ge=1)
    extractive: bool = True

    @property
    def where(self) -> str:
        """The endpoint, the reader's name, or the file."""
        return self.url or self.reader or self.answers

    @model_validator(mode="after")
    def _is_one(self) -> AgentSettings:
        """Exactly one of the three."""
        said = [what for what in ("url", "reader", "answers") if getattr(self, what)]
        if len(said) != 1:
            found = " and ".join(said) if said else "none"
            raise ValueError(
                f"an agent has one of url, reader and answers, and this one has {found}"
            )
        if self.url and not self.model:
            raise ValueError("an agent with a url names its model")
        if self.url and self.dollars:
            raise ValueError("an agent with a url says dollars_in and dollars_out, not dollars")
        if not self.url and (self.dollars_in or self.dollars_out):
            raise ValueError("an agent without a url says dollars, not dollars_in or dollars_out")
        return self


class Settings(_Section):
    """Everything that a workspace can be told; see the sections."""

    format_version: int = Field(FORMAT_VERSION, ge=1, le=FORMAT_VERSION)
    backbone: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    index: str = "index"
    price: float = Field(0.0, ge=0)
    passages: PassageSettings = PassageSettings()
    route: RouteSettings = RouteSettings()
    search: SearchSettings = SearchSettings()
    grade: GradeSettings = GradeSettings()
    select: SelectSettings = SelectSettings()
    read: ReadSettings = ReadSettings()
    defer: DeferSettings = DeferSettings()
    agents: list[AgentSettings] = []

    @model_validator(mode="after")
    def _names_apart(self) -> Self:
        names = ["reader", *(agent.name for agent in self.agents)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two agents are called {min(twice)!r}; the local one is 'reader'")
        return self


def read_settings(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings by precedence: `overrides` ("search.mode": "bm25"), environment, YAML, default.

    An override of None is as good as none, and so are a variable that is set to nothing and a
    section without lines. Raises ConfigError for an unknown key, naming the nearest known one, and
    for a value of the wrong kind; WorkspaceError for a file that is too new.
    """
    values = {} if path is None else _read_yaml(path)
    version = values.get("format_version", FORMAT_VERSION)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WorkspaceError(
            f"{path} has format {version}, this version of Pointsman reads up to {FORMAT_VERSION}; "
            "upgrade with `pip install --upgrade pointsman`"
        )
    known = dict(_keys(Settings))
    origin: dict[str, str] = {}
    for name, value in _from_environment(os.environ if environment is None else environment, known):
        _put(values, name, value)
        origin[name] = ENVIRONMENT_PREFIX + name.upper().replace(".", "__")
    for name, value in (overrides or {}).items():
        if value is not None:
            if name not in known:
                raise ConfigError(f"no setting is called {name!r}{_nearest(name, known)}")
            _put(values, name, value)
            origin[name] = f"--{name.replace('.', '-')}"
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = origin.get(name) or str(path or "settings")
        raise ConfigError(f"{where}: {_complaint(name, first, known)}") from None


def write_settings(path: Path, settings: Settings) -> None:
    """Write a settings file whole or not at all."""
    _write(path, _HEADER + yaml.safe_dump(settings.model_dump(), sort_keys=False))


def change_setting(path: Path, name: str, value: Any) -> None:
    """Set one value ("route.experts") in a settings file; its other lines, comments too, stay.

    Raises what `read_settings` and `write_settings` raise, and then the file is as it was.
    """
    changed = read_settings(path, {name: value}, environment={})
    text = path.read_text(encoding="utf-8")
    section, _, key = name.partition(".")
    for edited in _edited(text, section, key, value):
        if _means(edited, changed):
            _write(path, edited)
            return
    # Laid out as no person would: then all of it is written anew.
    write_settings(path, changed)


def _means(text: str, settings: Settings) -> bool:
    try:
        return Settings.model_validate(_filled(yaml.safe_load(text))) == settings
    except (yaml.YAMLError, ValidationError):
        return False


def _edited(text: str, section: str, key: str, value: Any) -> Iterator[str]:
    """The text with another value of section.key, where YAML's marks show the place for it."""
    line = f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()}"
    root = yaml.compose(text, yaml.SafeLoader)
    sections = {} if root is None else {each.value: body for each, body in root.value}
    body = sections.get(section)
    if body is None:
        yield f"{text.rstrip()}\n{section}:\n  {line}\n".lstrip()
    elif isinstance(body, yaml.MappingNode):
        first = body.value[0][0].start_mark
        for each, old in body.value:
            if each.value == key:
                # By YAML's marks, what follows a list in lines of its own belongs to its end.
                lines = isinstance(old, yaml.SequenceNode) and not old.flow_style
                end = (old.value[-1] if lines else old).end_mark.index
                yield text[: each.start_mark.index] + line + text[end:]
        yield f"{text[: first.index]}{line}\n{' ' * first.column}{text[first.index :]}"


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.aside")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise ReadOnlyError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


_HEADER = """\
# What this workspace uses. Flags and POINTSMAN_SECTION__KEY in the environment come before it.
# backbone: null is all-MiniLM-L6-v2; else a directory or a Hugging Face name.
"""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(f"{path}: missing") from None
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not text"
        raise ConfigError(f"{path}{line}: not valid YAML ({problem})") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: settings are `key: value` lines, not a {type(values).__name__}")
    return _filled(values)


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """A section whose lines are all commented out is null to YAML, and default to us."""
    sections = {name.split(".")[0] for name, _ in _keys(Settings) if "." in name}
    return {k: v for k, v in values.items() if not (v is None and k in sections)}


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _from_environment(
    environment: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        if name not in known:
            raise ConfigError(f"{variable}: no such setting{_nearest(name, known)}")
        if text.strip():
            yield name, _value(text.strip(), known[name])


def _value(text: str, kind: Any) -> Any:
    """A variable's text as what the setting holds; text that is no number stays, and is refused."""
    if text == "null":
        return None
    if kind == list[str] | None:
        return [name.strip() for name in text.split(",") if name.strip()]
    number = float if kind == float | None else kind
    try:
        return number(text) if number in (int, float) else text
    except ValueError:
        return text


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *sections, key = name.split(".")
    for section in sections:
        inner = values.get(section, {})
        if not isinstance(inner, Mapping):  # wrong already, and to be reported as it is
            return
        values[section] = inner = dict(inner)
        values = inner
    values[key] = value


def _complaint(name: str, error: ErrorDetails, known: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"unknown setting {name!r}{_nearest(name, known)}"
        case "model_type":
            inside = ", ".join(key for key in known if key.startswith(f"{name}."))
            return f"{name} is a section; below it, indented, stand {inside}"
        case "value_error":  # of a whole section, whose repr would say less than the message
            return f"{name}: {error['ctx']['error']}"
        case _:
            return f"{name} is {error['input']!r}: {_lower(error['msg'])}"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    inside = [key for key in known if key.startswith(f"{name}.")]
    if inside:
        return f"; it is a section, with {', '.join(inside)}"
    # The right key in the wrong section comes before a key that is spelt alike.
    close = [key for key in known if key.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    sections = {key.split(".")[0] for key in known if "." in key}
    close += difflib.get_close_matches(name, [*known, *sections], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]

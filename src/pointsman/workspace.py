"""A workspace: a directory with one YAML file, an index, and specialists of its own.

    my-space/
      pointsman.yaml     settings (pointsman.settings)
      index/             passages and vectors
      specialists/       specialists beside those that ship with the package

It holds no absolute path, unless its backbone is a directory outside of it, so it can be moved;
where it cannot be written it opens read-only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.data.documents import EMPTY
from pointsman.data.sources import Source, open_source, passages
from pointsman.deadline import Deadline
from pointsman.errors import (
    ConfigError,
    InputError,
    ReadOnlyError,
    SpecialistError,
    WorkspaceError,
)
from pointsman.settings import AgentSettings, Settings, read_settings, write_settings
from pointsman.text import scrub
from pointsman.trace import Cost
from pointsman.types import Answer, BackboneIdentity, FloatArray, Hit, Passage, Where

if TYPE_CHECKING:
    from pointsman.backbone.encoder import Backbone
    from pointsman.backbone.weights import Weights
    from pointsman.defer.allocator import Judge
    from pointsman.defer.cost import Floats
    from pointsman.pipeline import Pipeline
    from pointsman.protocols import Agent, Allocator, Grader, QueryFit, Reader, Router, Selector
    from pointsman.read.chat import ChatAgent
    from pointsman.read.reader import SpanReader, WindowReader
    from pointsman.retrieve.lance import LanceIndex
    from pointsman.retriever import Retriever
    from pointsman.route.expert import Expert
    from pointsman.route.shelf import FoundExpert

SETTINGS_FILE = "pointsman.yaml"
SPECIALISTS = "specialists"
SHIPPED = Path(__file__).parent / SPECIALISTS
SHIPPED_EXPERTS = SHIPPED / "experts"
DEFAULT_READER, DEFAULT_GRADER, DEFAULT_SELECTOR = "reader", "grader", "selector"
READER = "reader"
"""What the local agent is called, whichever reader it is."""
UNGRADED = UNSELECTED = UNALLOCATED = "none"
PRETRAINED = "hf:"

_NOT_OF_A_CHAT = {"right", "alpha", "reader", "answers", "dollars", "gflops", "seconds"}


def pretrained_name(grader: str) -> str | None:
    """The path or hub name that a grader's name holds where it begins with "hf:", else None."""
    return grader.removeprefix(PRETRAINED) if grader.startswith(PRETRAINED) else None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What became of one source: passages by fate, documents that could not be used, seconds."""

    source: str
    kind: str
    added: int
    replaced: int
    unchanged: int
    removed: int
    skipped: tuple[str, ...]
    seconds: float


class Workspace:
    """Made by `create` or `open`. Models are loaded when they are first needed, and then kept."""

    def __init__(self, path: Path, settings: Settings, read_only: bool) -> None:
        self.path = path
        self.settings = settings
        self.read_only = read_only

    @classmethod
    def create(cls, path: str | Path, *, backbone: str | Path | None = None) -> Workspace:
        """Make a new workspace in a directory that is new, empty, or holds none yet.

        `backbone` is a directory or a hub name; None is the default encoder. Raises WorkspaceError
        where there is one already, ReadOnlyError where nothing can be written.
        """
        folder = Path(path).expanduser()
        name = None if backbone is None else _lasting(backbone, folder)
        read_settings(None)  # so that a wrong variable is told before anything is made
        # The environment may be another one tomorrow: what it says is not written down.
        settings = read_settings(None, {"backbone": name}, environment={})
        try:
            if (folder / SETTINGS_FILE).exists():
                raise WorkspaceError(
                    f"{folder} is a workspace already; open it, or name another one"
                )
            if folder.exists() and not folder.is_dir():
                raise WorkspaceError(f"{folder} is a file; a workspace is a directory")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReadOnlyError(f"{folder}: cannot be made ({error.strerror})") from error
        write_settings(folder / SETTINGS_FILE, settings)
        return cls.open(folder)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        overrides: Mapping[str, Any] | None = None,
        read_only: bool | None = None,
    ) -> Workspace:
        """Open a workspace. `overrides` ("search.mode": "dense") go before environment and YAML.

        `read_only` None finds out. Raises WorkspaceError where there is none, ConfigError.
        """
        folder = Path(path).expanduser()
        try:
            there, complete = folder.is_dir(), (folder / SETTINGS_FILE).is_file()
        except OSError as error:
            raise WorkspaceError(f"{folder}: cannot be opened ({error.strerror})") from error
        if not there:
            raise WorkspaceError(
                f"{folder}: no such workspace; make one with `pointsman init {folder}`"
            )
        if not complete:
            raise WorkspaceError(
                f"{folder} is not a workspace (no {SETTINGS_FILE}); make one with `pointsman init {folder}`"
            )
        settings = read_settings(folder / SETTINGS_FILE, overrides)
        if read_only is None:
            read_only = not os.access(folder, os.W_OK)
        return cls(folder, settings, read_only)

    # ---- its parts, each made when first asked for

    @cached_property
    def backbone(self) -> Backbone:
        """The encoder that the settings name; a relative path is looked for in the workspace first."""
        from pointsman.backbone.encoder import Backbone

        settings = self.settings
        return Backbone.load(self.backbone_name, device=settings.device, dtype=settings.dtype)

    @property
    def backbone_name(self) -> str | Path | None:
        """What the encoder is loaded by: None is the default, else a directory or a hub name."""
        name = self.settings.backbone
        return self.path / name if name and (self.path / name).is_dir() else name

    @cached_property
    def base(self) -> Weights | BackboneIdentity:
        """What specialists must have been made on, known without loading the encoder."""
        from pointsman.backbone.weights import locate

        return self.backbone.identity if "backbone" in self.__dict__ else locate(self.backbone_name)

    @cached_property
    def store(self) -> LanceIndex:
        """The index; made on first use in a workspace that can be written."""
        from pointsman.retrieve.fusion import Fusion
        from pointsman.retrieve.lance import LanceIndex

        uri = self.index_uri
        search = self.settings.search
        fusion = Fusion(method=search.fusion, dense_weight=search.dense_weight)
        if LanceIndex.exists(uri):
            index = LanceIndex.open(uri, self.read_only, fusion=fusion)
        elif "://" in uri:
            try:
                index = LanceIndex.open(uri, self.read_only, fusion=fusion)
            except WorkspaceError:  # not there yet; one that cannot be reached fails again here
                index = LanceIndex.create(uri, self.backbone.identity, fusion=fusion)
        elif self.read_only:
            raise WorkspaceError(f"{self.path} has no index yet, and cannot be written to make one")
        else:
            index = LanceIndex.create(uri, self.backbone.identity, fusion=fusion)
        return index

    @property
    def index_uri(self) -> str:
        """Where the index lies: a directory, by default in the workspace, or an object-store URI."""
        where = self.settings.index
        return where if "://" in where else str(self.path / where)

    @cached_property
    def reader(self) -> SpanReader:
        """The reader that the settings name, on the backbone."""
        from pointsman.read.reader import SpanReader

        return SpanReader.load(self.backbone, self.reader_folder)

    @property
    def reader_folder(self) -> Path:
        """Where that reader lies. Raises SpecialistError where there is none."""
        return self._specialist(self.settings.read.reader, DEFAULT_READER)

    @cached_property
    def grader(self) -> Grader:
        """The grader that the settings name, on the backbone or by itself; without one nothing is graded."""
        from pointsman.grade.grader import PairGrader
        from pointsman.grade.plain import Ungraded
        from pointsman.grade.pretrained import load_pretrained

        if self.pretrained_grader is not None:
            from pointsman.backbone.device import INT8

            # What multiplies in 8 bits is the backbone alone.
            dtype = None if self.settings.dtype == INT8 else self.settings.dtype
            return load_pretrained(self.pretrained_grader, device=self.settings.device, dtype=dtype)
        folder = self.grader_folder
        return Ungraded() if folder is None else PairGrader.load(self.backbone, folder)

    @property
    def pretrained_grader(self) -> str | None:
        """The path or hub name of the grader where it is a Hugging Face model, else None."""
        return pretrained_name(self.settings.grade.grader)

    @property
    def grader_folder(self) -> Path | None:
        """Where that grader's specialist lies, None where it is none. Raises SpecialistError."""
        name = self.settings.grade.grader
        if name == UNGRADED or self.pretrained_grader is not None:
            return None
        return self._specialist(name, DEFAULT_GRADER)

    @cached_property
    def selector(self) -> Selector:
        """The selector that the settings name, on the backbone; without one the first passages are read."""
        from pointsman.joint.looking import load_selector
        from pointsman.select.plain import TopK

        folder, most = self.selector_folder, self.settings.read.passages
        return TopK(most) if folder is None else load_selector(self.backbone, folder).at_most(most)

    @property
    def selector_folder(self) -> Path | None:
        """Where that selector's specialist lies, None where it is none. Raises SpecialistError."""
        name = self.settings.select.selector
        return None if name == UNSELECTED else self._specialist(name, DEFAULT_SELECTOR)

    def _specialist(self, name: str, default: str) -> Path:
        if name == "default":
            if not (SHIPPED / default).is_dir():
                raise SpecialistError(
                    f"no {default} ships with this installation; train one with "
                    f"`pointsman train {default}`"
                )
            return SHIPPED / default
        candidates = [self.path / SPECIALISTS / name, SHIPPED / name, self.path / name, Path(name)]
        for folder in candidates:
            if folder.is_dir():
                return folder
        raise SpecialistError(
            f"no specialist {name!r} in {self.path / SPECIALISTS}, and no such path"
        )

    @cached_property
    def found_experts(self) -> Mapping[str, FoundExpert]:
        """Every query expert here by name, one that cannot be used too: its own, then those that ship."""
        from pointsman.route.shelf import find_experts

        return find_experts(self.path / SPECIALISTS, SHIPPED_EXPERTS, self.base)

    @cached_property
    def experts(self) -> Mapping[str, Expert]:
        """The query experts that may embed a question: all that can be used, or those of the settings."""
        wanted = self.settings.route.experts
        return {
            name: found.expert
            for name, found in self.found_experts.items()
            if found.expert is not None and (wanted is None or name in wanted)
        }

    @cached_property
    def left_out(self) -> Mapping[str, str]:
        """The query experts that somebody wants used and that cannot be, with the reason."""
        from pointsman.backbone.weights import DEFAULT_SHA256

        found, wanted = self.found_experts, self.settings.route.experts
        if wanted is None:
            # Those that ship are for the default encoder, and nobody expects them on another.
            ours = self.base.sha256 == DEFAULT_SHA256
            wanted = [name for name, each in found.items() if ours or not each.shipped]
        reasons = {
            name: found[name].reason if name in found else "there is no expert of this name"
            for name in wanted
        }
        return {name: reason for name, reason in reasons.items() if reason}

    @cached_property
    def router(self) -> Router:
        """Mixes the experts by how familiar a question is to each; the base where there are none.

        Also where only words are searched for: then no vector is asked for.
        """
        from pointsman.route.home import HomeRouter
        from pointsman.route.mixture import MixtureRouter, MixtureSettings
        from pointsman.route.plain import BaseRouter

        settings = self.settings
        words = settings.search.mode == "bm25"
        if words or settings.route.router == "base":
            return BaseRouter()
        home = settings.route.home
        domains = {}
        for name, expert in self.experts.items():
            if expert.domain is not None and name != home:
                self.backbone.add_adapter(name, expert.adapter, expert.base_sha256)
                domains[name] = expert.domain
        router: Router = BaseRouter()
        if domains:
            hybrid = settings.search.mode == "hybrid"
            router = MixtureRouter(domains, MixtureSettings.hybrid() if hybrid else None)
        return router if home is None else HomeRouter(router, self._at_home(home))

    def _at_home(self, name: str) -> str:
        """The expert that stands in for the base, put into the encoder. Raises ConfigError."""
        found = self.found_experts.get(name)
        if found is None or found.expert is None:
            reason = "there is no expert of this name" if found is None else found.reason
            raise ConfigError(f"route.home names {name!r}: {reason}")
        self.backbone.add_adapter(name, found.expert.adapter, found.expert.base_sha256)
        return name

    @cached_property
    def query_fit(self) -> QueryFit | None:
        """Fits query vectors to the index; None where they are searched with as they are."""
        from pointsman.route.whitening import STRENGTH, Whitening

        strength = self.settings.route.whitening
        if strength is None:
            strength = STRENGTH if self.settings.search.mode == "dense" else 0.0
        return Whitening(self.store.vectors, strength) if strength else None

    @cached_property
    def retriever(self) -> Retriever:
        """The first two stages, for which no reader is loaded."""
        from pointsman.retriever import Retriever

        self.store.check_backbone(self.backbone.identity)
        return Retriever(
            self.backbone, self.store, self.router, self.query_fit, self.settings.search.mode
        )

    @cached_property
    def agents(self) -> list[Agent]:
        """Who may answer: the local reader, then the chat endpoints of the settings.

        Where an allocator was learned the reader says what it can, and the allocator how likely it is.
        """
        from pointsman.read.agent import ReaderAgent
        from pointsman.read.joined import as_read

        read = self.settings.read
        learned = self.settings.defer.allocator != UNALLOCATED
        reader = ReaderAgent(
            as_read(self.reader),
            name=READER,
            n_best=read.n_best,
            min_confidence=0.0 if learned else read.min_confidence,
            gflops_per_token=self.reader.shape.forward_gflops(1, 256) / 256,
        )
        return [reader, *self.further_agents]

    @cached_property
    def further_agents(self) -> list[Agent]:
        """Those of the settings, in that order. Raises ConfigError, SpecialistError, ModelError, InputError."""
        return [self._agent(given) for given in self.settings.agents]

    def check_agents(self) -> None:
        """What can be said of the settings' agents while nothing is loaded. Raises ConfigError."""
        self._chat_agents()

    def check_keys(self) -> None:
        """Raise ConfigError for an agent whose key is not there, before anybody is asked."""
        for agent in self._chat_agents():
            agent.check_key()

    def _agent(self, given: AgentSettings) -> Agent:
        """A chat endpoint, for which nothing is loaded; a reader; or a file of answers."""
        from pointsman.data.recorded import read_predictions
        from pointsman.read.agent import ReaderAgent
        from pointsman.read.joined import as_read
        from pointsman.read.pretrained import load_pretrained_reader
        from pointsman.read.reader import SpanReader
        from pointsman.read.recorded import RecordedAgent

        if given.url:
            return self._chat_agent(given)
        if given.answers:
            file = self.path / given.answers
            return RecordedAgent(
                given.name,
                read_predictions(file),
                confidence=given.right,
                dollars=given.dollars,
            )
        if given.reader.startswith(PRETRAINED):
            name = given.reader.removeprefix(PRETRAINED)
            reader: WindowReader = load_pretrained_reader(name, device=self.settings.device)
            as_it_reads: Reader = reader
        else:
            own = SpanReader.load(self.backbone, self._specialist(given.reader, DEFAULT_READER))
            reader, as_it_reads = own, as_read(own)
        return ReaderAgent(
            as_it_reads,
            name=given.name,
            n_best=self.settings.read.n_best,
            gflops_per_token=reader.shape.forward_gflops(1, 256) / 256,
            dollars=given.dollars,
        )

    def _chat_agents(self) -> list[ChatAgent]:
        """The endpoints among the settings' agents. Raises ConfigError."""
        return [self._chat_agent(given) for given in self.settings.agents if given.url]

    def _chat_agent(self, given: AgentSettings) -> ChatAgent:
        """A chat endpoint, for which nothing is loaded. Raises ConfigError."""
        from pointsman.read.chat import ChatAgent, ChatSettings

        said = given.model_dump(exclude=_NOT_OF_A_CHAT)
        return ChatAgent(ChatSettings(confidence=given.right, **said))

    @property
    def agents_known_by(self) -> list[str]:
        """What each agent's answers depend on beside its name: another model called the same is another."""
        own = self._reader_known_by(self.settings.read.reader)
        return [own, *map(self._known_by, self.settings.agents)]

    def _known_by(self, given: AgentSettings) -> str:
        from pointsman.backbone.weights import file_sha256, weights_sha256

        if given.url:
            said = (given.url, given.model, given.max_tokens, given.extractive, given.right)
            return repr(said)
        if given.answers:
            return f"{file_sha256(self.path / given.answers)} {given.right}"
        if given.reader.startswith(PRETRAINED):
            folder = Path(given.reader.removeprefix(PRETRAINED))
            return weights_sha256(folder) if folder.is_dir() else given.reader
        return self._reader_known_by(given.reader)

    def _reader_known_by(self, name: str) -> str:
        """Its specialist's description holds the digests of its weights."""
        from pointsman.backbone.specialist import SPECIALIST_FILE
        from pointsman.backbone.weights import file_sha256

        described = self._specialist(name, DEFAULT_READER) / SPECIALIST_FILE
        return f"{self.backbone.identity.sha256} {self.settings.dtype} {file_sha256(described)}"

    @cached_property
    def allocator(self) -> Allocator:
        """The one that the settings name; else the reader alone, or first, and the others where it is not
        sure enough.
        """
        from pointsman.backbone.specialist import SPECIALIST_FILE
        from pointsman.defer.foreseen import load_foreseeing
        from pointsman.defer.look_first import LookFirst
        from pointsman.defer.plain import FirstAgent
        from pointsman.defer.saved import load_allocator

        further = self.settings.agents
        names = [READER, *(agent.name for agent in further)]
        folder = self.allocator_folder
        if folder is not None:
            if (folder / SPECIALIST_FILE).is_file():
                return load_foreseeing(
                    folder, self.backbone, names, self._usual_units, self.times, self.alpha
                )
            return load_allocator(
                folder,
                self.backbone,
                names,
                self._usual_units,
                self.judge,
                self._stored,
                self.times,
                self.alpha,
            )
        if not further:
            return FirstAgent(names)
        rights = [0.0, *(agent.right for agent in further)]
        return LookFirst(names, rights, self._usual_units, self.times, self.alpha)

    def _stored(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """Passages' vectors in the index as it is when they are asked for: it may be opened anew meanwhile."""
        return self.store.of_ids(ids)

    @property
    def allocator_folder(self) -> Path | None:
        """Where a learned allocator lies, None where none is set. Raises SpecialistError."""
        name = self.settings.defer.allocator
        return None if name == UNALLOCATED else self._specialist(name, "allocator")

    def promised(self, error: float) -> float:
        """The least chance of an answer, so that at most a share `error` of the given ones is wrong, at the
        price of the settings. Raises ConfigError where the allocator does not promise that.
        """
        from pointsman.defer.measured import promised

        if self.allocator_folder is None:
            raise ConfigError(
                "nobody has measured what can be promised; train an allocator, and name it under `defer:`"
            )
        return promised(self.allocator_folder, self.settings.price, error)

    @property
    def changed_agents(self) -> list[str]:
        """Those that are another model, or say something else, than when the allocator learned from them."""
        from pointsman.defer.answered import models
        from pointsman.defer.measured import models_then

        folder = self.allocator_folder
        then = {} if folder is None else models_then(folder)
        if not then:
            return []
        names = [READER, *(agent.name for agent in self.settings.agents)]
        now = models(names, self.agents_known_by)
        return [name for name in names if name in then and then[name] != now[name]]

    @property
    def judge(self) -> Judge:
        """Who looks at passages for what agents said: the reader."""
        from pointsman.read.verify import judge

        return partial(judge, self.reader)

    @property
    def usual_costs(self) -> list[Cost]:
        """What a question of a usual length takes of each agent, the reader first, as far as that is known."""
        context = [Passage("", "x" * self.settings.passages.size)] * self.settings.read.passages
        return [each[0] for each in self._estimates(["x" * 60], [context])]

    def _estimates(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[list[Cost]]:
        """What each agent takes for each question. What the settings say of an agent goes before; but seconds
        only until some were measured, as they change.
        """
        said = [
            Cost(seconds=self.settings.read.seconds),
            *(Cost(each.gflops, each.seconds) for each in self.settings.agents),
        ]
        return [
            [
                Cost(ours.gflops or its.gflops, its.seconds or ours.seconds, its.usd)
                for its in agent.estimate(questions, contexts)
            ]
            for agent, ours in zip(self.agents, said, strict=True)
        ]

    def times(self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]) -> Floats:
        """How many times what is usual each question takes of each agent [n, A], in `defer.unit`; once where
        that is not known.
        """
        import numpy as np

        from pointsman.defer.cost import in_unit

        unit, usual = self.settings.defer.unit, self._usual_units
        found = np.ones((len(questions), len(usual)))
        for j, row in enumerate(self._estimates(questions, contexts)):
            taken = [in_unit(cost, unit) for cost in row]
            found[:, j] = [each / usual[j] if each and usual[j] else 1.0 for each in taken]
        return found

    @cached_property
    def _usual_units(self) -> list[float]:
        """What is usual as the allocator was told it when it was made, and by which it counts."""
        return self.units

    @property
    def units(self) -> list[float]:
        """The same in the unit that a price weighs, `defer.unit`.

        Raises ConfigError, naming what to set, for an agent of which that is not known, and for a price
        where nobody takes anything.
        """
        from pointsman.defer.cost import in_unit

        unit, price, found = self.settings.defer.unit, self.settings.price, []
        for agent, cost in zip(self.agents, self.usual_costs, strict=True):
            taken = in_unit(cost, unit)
            if taken is None:
                place = (
                    "under `read:`" if agent.name == READER else "beside its name under `agents:`"
                )
                raise ConfigError(
                    f"how many {unit} a question takes of the agent {agent.name} is not known; set "
                    f"`{unit}:` {place}, or another `unit:` under `defer:`"
                )
            found.append(taken)
        if price and len(found) > 1 and not any(found):
            raise ConfigError(
                f"the price {price:g} weighs dollars, and no agent takes any; set what they take (`dollars_in`, "
                "`dollars_out` or `dollars`), or `unit: gflops` or `unit: seconds` under `defer:`"
            )
        return found

    @property
    def alpha(self) -> list[float]:
        """What an error of each agent weighs, the reader first."""
        return [self.settings.read.alpha, *(each.alpha for each in self.settings.agents)]

    @property
    def asked_at_once(self) -> list[int]:
        """How many questions each agent is asked in calls of their own at a time; 0 where many are answered in
        one call, for nothing.
        """
        return [0, *(each.concurrency if each.url else 0 for each in self.settings.agents)]

    @cached_property
    def pipeline(self) -> Pipeline:
        """The six stages, with the plain choice where nothing is learned yet."""
        from pointsman.pipeline import Pipeline, PipelineSettings

        self.check_keys()
        settings, retriever = self.settings, self.retriever
        return Pipeline(
            retriever.encoder,
            retriever.index,
            router=retriever.router,
            grader=self.grader,
            selector=self.selector,
            allocator=self.allocator,
            agents=self.agents,
            query_fit=retriever.query_fit,
            settings=PipelineSettings(
                mode=retriever.mode,
                candidates=max(settings.search.candidates, settings.read.passages),
                price=settings.price,
                relevance_weight=settings.grade.weight,
                min_relevance=settings.grade.min_relevance,
                min_confidence=settings.read.min_confidence,
                budget=settings.defer.budget,
            ),
        )

    # ---- what one does with it

    def index(
        self,
        sources: Sequence[str | Path],
        *,
        prefix: str = "",
        progress: Callable[[str, int], None] | None = None,
        deadline: Deadline | None = None,
    ) -> list[SourceReport]:
        """Index folders, files and collections; only what is new or changed is encoded.

        A document that is gone from a source is gone from the index. Ids of one source must not be
        those of another: `prefix` is put before them where they would be. All paths are checked
        before anything is read. Raises InputError, ReadOnlyError, IndexLockedError,
        BackboneMismatchError, DeadlineError; what was stored until then stays, and the same call
        goes on from there. `progress` gets the source and its passages done.
        """
        from pointsman.retrieve.ingest import ingest

        if isinstance(sources, str | Path):
            sources = [sources]
        if not sources:
            raise InputError("name at least one source: a folder, a file or a collection")
        opened = [open_source(source) for source in sources]
        for source in opened:
            needed = os.R_OK | os.X_OK if source.path.is_dir() else os.R_OK
            if not os.access(source.path, needed):
                raise InputError(f"{source.path}: cannot be read (Permission denied)")
        if self.read_only:
            raise ReadOnlyError(f"{self.path} cannot be written, so nothing can be indexed")
        reports = []
        for source in opened:
            label = scrub(os.path.abspath(source.path))
            seen: set[str] = set()
            report = ingest(
                self.store,
                self.backbone,
                self._passages(source, label, prefix, seen),
                progress=None if progress is None else partial(progress, str(source.path)),
                deadline=deadline,
            )
            reports.append(
                SourceReport(
                    source=str(source.path),
                    kind=source.kind,
                    added=report.added,
                    replaced=report.replaced,
                    unchanged=report.unchanged,
                    removed=self._remove_gone(source, label, prefix, seen),
                    skipped=(
                        *(str(skipped) for skipped in source.skipped),
                        *(f"{id}: no text" for id in report.blank),
                    ),
                    seconds=report.seconds,
                )
            )
        return reports

    def _passages(
        self, source: Source, label: str, prefix: str, seen: set[str]
    ) -> Iterator[Passage]:
        """A source's passages, refusing an id that another source has given to the index."""
        store = self.store
        foreign = set(store.ids())
        if foreign:
            foreign -= set(store.ids(where={"source": label}))
        cut = self.settings.passages
        for passage in passages(source, cut.size, cut.overlap):
            id = f"{prefix}{passage.id}"
            if id in foreign and (other := self._source_of(id)):
                raise InputError(
                    f"{source.path}: the id {id!r} is in the index already, from {other}; "
                    "give this one a prefix (--prefix NAME/)"
                )
            if passage.content.strip():
                seen.add(id)
            yield replace(
                passage,
                id=id,
                document=f"{prefix}{passage.document}",
                metadata={**passage.metadata, "source": label},
            )

    def _source_of(self, id: str) -> str | None:
        """Where a passage came from, or None if that is gone: then its documents have been moved."""
        (passage,) = self.store.get([id])
        source = str(passage.metadata.get("source", "elsewhere"))
        return source if source == "elsewhere" or os.path.exists(source) else None

    def _remove_gone(self, source: Source, label: str, prefix: str, seen: set[str]) -> int:
        """Delete what this source no longer holds; returns how many passages.

        What is there but could not be read this time is no reason to forget it.
        """
        gone = [id for id in self.store.ids(where={"source": label}) if id not in seen]
        unread = tuple(
            f"{prefix}{skipped.path}" for skipped in source.skipped if skipped.reason != EMPTY
        )
        folders = tuple(f"{path}/" for path in unread)
        return self.store.delete(
            passage.id
            for passage in self.store.get(gone)
            if passage.document not in unread and not passage.document.startswith(folders)
        )

    def search(self, question: str, k: int = 10, *, where: Where | None = None) -> list[Hit]:
        """The passages found for a question, without reading them; see `Retriever.retrieve`."""
        return self.retriever.retrieve([question], k, where=where)[0]

    def ask(
        self, question: str, *, where: Where | None = None, deadline: Deadline | None = None
    ) -> Answer:
        """Answer one question from the index; see `Pipeline.ask`."""
        return self.pipeline.ask(question, where=where, deadline=deadline)

    def ask_many(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        """Answer questions together; see `Pipeline.ask_many`."""
        return self.pipeline.ask_many(questions, where=where, deadline=deadline)

    def close(self) -> None:
        """Let go of the index. Models are freed with the workspace itself."""
        if "store" in self.__dict__:
            self.store.close()
        for part in ("store", "query_fit", "retriever", "pipeline"):
            self.__dict__.pop(part, None)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lasting(backbone: str | Path, folder: Path) -> str:
    """A name that means the same from wherever the workspace is opened.

    Without this a relative path, opened from elsewhere, would be taken for a name on the hub.
    """
    given = Path(backbone).expanduser()
    if not given.is_dir():
        return str(backbone)
    whole, home = Path(os.path.abspath(given)), Path(os.path.abspath(folder))
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else str(whole)

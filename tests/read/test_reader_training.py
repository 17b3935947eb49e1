"""Training a reader: what an epoch holds, and one reader learned from nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.backbone.pairs import Window
from pointsman.errors import ConfigError, SpecialistError
from pointsman.evaluate.reading import score_reading
from pointsman.read.confidence import UNCALIBRATED, Calibration
from pointsman.read.examples import confusable_contexts, epoch_examples, unanswerable
from pointsman.read.head import SpanHead
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.recipe import Recipe, save_reader, train_reader
from pointsman.read.task import Part, ReaderData, ReaderTask, Target, read_own_context
from pointsman.training.loop import Plan
from pointsman.types import FloatArray, Passage, ReadingExample
from tiny import VOCABULARY, WIDTH

LETTERS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
]
COLOURS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "silver"]
SETTINGS = ReaderSettings(max_length=32, overlap=6, answer_width=4)


def colour_questions(n: int, seed: int = 0, more: int = 30) -> list[ReadingExample]:
    """Which colour is among the letters? A third of the contexts has `more` words, in several windows."""
    rng = random.Random(seed)
    examples = []
    for i in range(n):
        words = rng.sample(LETTERS, 8) + rng.choices(LETTERS, k=rng.choice([0, 0, more]))
        colour = COLOURS[i % len(COLOURS)]
        words.insert(rng.randrange(len(words) + 1), colour)
        context = " ".join(words)
        examples.append(
            ReadingExample(
                id=str(i),
                question="what is the colour ?",
                context=context,
                answers=(colour,),
                starts=(context.index(colour),),
            )
        )
    return examples


def make_task(
    backbone: Backbone,
    examples: list[ReadingExample],
    seed: int = 0,
    share: float = 0.5,
    contexts: Sequence[str] | None = None,
    teachers: Sequence[Part] = (),
) -> ReaderTask:
    generator = torch.Generator().manual_seed(0)
    contexts = contexts or [example.context for example in examples]
    # An example's neighbour never holds its answer: colours go round in ten.
    confusable = [[(i + 1) % len(examples)] for i in range(len(examples))]

    def evaluate(reader: SpanReader) -> Mapping[str, float]:
        return {"f1": 0.0}

    return ReaderTask(
        backbone,
        new_adapter(backbone.model, 4, 8, generator),
        SpanHead.fresh(WIDTH, generator),
        ReaderData(examples, contexts, confusable, share),
        evaluate,
        batch_size=8,
        settings=SETTINGS,
        teachers=teachers,
        seed=seed,
    )


def contents(batches: list[list[Target]]) -> list[list[tuple[bytes, dict[int, float]]]]:
    return [
        [(target.window.ids.tobytes(), dict(target.start)) for target in batch] for batch in batches
    ]


def test_batches_are_a_function_of_seed_and_epoch(tiny: Backbone) -> None:
    examples = colour_questions(30)
    one, two = make_task(tiny, examples), make_task(tiny, examples)
    first = contents(one.batches(0))
    second = contents(one.batches(1))
    assert first != second
    assert contents(two.batches(1)) == second  # without having made epoch 0
    assert contents(one.batches(0)) == first  # and going back
    assert contents(make_task(tiny, examples, seed=1).batches(0)) != first


def test_every_window_with_the_answer_and_one_without(tiny: Backbone) -> None:
    examples = colour_questions(30, more=50)
    batches = make_task(tiny, examples, share=0).batches(0)
    assert max(len(batch) for batch in batches) == 8
    assert sum(len(batch) < 8 for batch in batches) <= 1  # the rest
    loud, silent = Counter[int](), Counter[int]()
    for target in (target for batch in batches for target in batch):
        assert target.start == target.end  # one token
        ((token, weight),) = target.start.items()
        assert weight == 1
        (silent if token == 0 else loud)[target.window.pair] += 1
        assert colours(target.window) == ([token] if token else [])
    pieces = tiny.windows([(e.question, e.context) for e in examples], 32, 6)
    assert max(Counter(window.pair for window in pieces).values()) > 2
    assert set(loud) == set(range(30))
    assert loud.total() == sum(bool(colours(window)) for window in pieces)
    # Of the windows without the answer one an example is kept.
    assert set(silent.values()) == {1}
    assert len(silent) == len({window.pair for window in pieces if not colours(window)})


def colours(window: Window) -> list[int]:
    """The places of colours in a window."""
    return [i for i, token in enumerate(window.ids) if VOCABULARY[token] in COLOURS]


def teacher(
    backbone: Backbone, change: Callable[[dict[str, torch.Tensor]], object] = len, scale: float = 1
) -> Part:
    """A random teacher; `change` is given its tensors, copied, by name."""
    generator = torch.Generator().manual_seed(2)
    adapter = new_adapter(backbone.model, 2, 4, generator)
    layers = {n: replace(pair, scale=scale * pair.scale) for n, pair in adapter.layers.items()}
    tensors = {name: tensor.clone() for name, tensor in adapter.tensors().items()}
    tensors |= SpanHead.fresh(WIDTH, generator).tensors
    change(tensors)
    head = SpanHead({name: tensors[name] for name in ("weight", "bias")})
    return Part(LoraAdapter(layers).with_tensors(tensors), head)


def test_the_fingerprint_covers_all_that_a_run_learns_from(tiny: Backbone) -> None:
    examples = colour_questions(10)
    contexts = [example.context for example in examples]

    def nudge(ending: str) -> Part:
        def change(tensors: dict[str, torch.Tensor]) -> None:
            name = next(name for name in reversed(tensors) if name.endswith(ending))
            tensors[name].view(-1)[-1] += 1e-6

        return teacher(tiny, change)

    def others(**changed: object) -> list[ReadingExample]:
        return [*examples[:-1], replace(examples[-1], **changed)]  # type: ignore[arg-type]

    def fingerprint(
        examples: list[ReadingExample] = examples,
        contexts: Sequence[str] = contexts,
        *teachers: Part,
    ) -> str:
        return make_task(tiny, examples, contexts=contexts, teachers=teachers).fingerprint()

    found = [
        fingerprint(),
        fingerprint(others(question="which colour ?")),
        fingerprint(others(context=examples[-1].context + " ?")),
        fingerprint(others(answers=("red", "blue"), starts=(0, 0))),
        fingerprint(examples[::-1]),
        fingerprint(examples, [*contexts[:-1], "another"]),
        fingerprint(examples, contexts, teacher(tiny)),
        fingerprint(examples, contexts, teacher(tiny, scale=2)),
        fingerprint(examples, contexts, nudge("lora_A.weight")),
        fingerprint(examples, contexts, nudge("lora_B.weight")),
        fingerprint(examples, contexts, nudge("bias")),
        fingerprint(examples, contexts, teacher(tiny), teacher(tiny)),
    ]
    assert len(set(found)) == len(found)
    assert found[0] == fingerprint(colour_questions(10))
    assert found[6] == fingerprint(examples, contexts, teacher(tiny))


def test_the_share_of_questions_with_a_wrong_context() -> None:
    examples = colour_questions(20)
    contexts = [example.context for example in examples]
    near = [[(i + 1) % 20, (i + 2) % 20] for i in range(20)]
    near[3] = []  # nothing confusable
    examples[4] = replace(examples[4], answers=(), starts=())  # has no answer anyway
    chosen = epoch_examples(examples, contexts, near, 0.5, seed=1)
    assert len(chosen) == 20 + 9  # half of the 18 that can
    assert chosen == epoch_examples(examples, contexts, near, 0.5, seed=1)
    assert chosen != epoch_examples(examples, contexts, near, 0.5, seed=2)
    originals = {example.id: example for example in examples}
    copies = [e for e in chosen if e.context != originals[e.id].context]
    assert len(copies) == 9
    for copy in copies:
        assert copy.answers == copy.starts == ()
        assert copy.question == originals[copy.id].question
        assert contexts.index(copy.context) in near[int(copy.id)]
    assert sorted(e.id for e in chosen if e not in copies) == sorted(originals)
    assert len(epoch_examples(examples, contexts, near, 0.0, seed=1)) == 20
    assert len(epoch_examples(examples, contexts, near, 1.0, seed=1)) == 20 + 18
    assert unanswerable(examples[0], "other").context == "other"


def test_confusable_contexts_by_hand() -> None:
    example = ReadingExample("1", "who?", "own", ("Red",), (0,))
    contexts = ["own", "a red one", "near", "far", "nearest"]
    question: FloatArray = np.array([[1.0, 0.0]], dtype=np.float32)
    cosine = np.array([1.0, 0.99, 0.8, 0.1, 0.9], dtype=np.float32)
    vectors: FloatArray = np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)
    found = confusable_contexts([example], contexts, question, vectors, k=2)
    # Neither its own, nor the one that holds the answer in other letters; then by nearness.
    assert found == [[4, 2]]


def test_loss_reaches_every_weight_and_the_base_none(tiny: Backbone) -> None:
    task = make_task(tiny, colour_questions(10))
    batch = task.batches(0)[0]
    # B is zero at first, so A's gradient is too; one step later it is not.
    optimizer = torch.optim.SGD(task.parameters().values(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    # What follows attention in the last layer, on a head of all tokens: everything is used.
    unused = [n for n, p in task.parameters().items() if p.grad is None or not p.grad.any()]
    assert unused == []
    assert all(p.grad is None for p in tiny.model.parameters())


def f1(reader: SpanReader, examples: list[ReadingExample]) -> float:
    readings = read_own_context(reader, examples)
    texts = {e.id: r.spans[0].text for e, r in zip(examples, readings, strict=True)}
    return score_reading(texts, examples).mean_f1


def test_a_shallow_reader_runs_its_layers_and_no_more(tiny: Backbone, tmp_path: Path) -> None:
    """It learns through one layer of two, gives what an encoder cut to that layer gives, and costs half."""
    examples = colour_questions(60)
    plan = Plan(measure="f1", epochs=20, learning_rate=1e-2, evaluations=1, patience=10)
    shallow = replace(SETTINGS, layers=1)
    recipe = Recipe(rank=8, alpha=16, batch_size=8, settings=shallow, plan=plan)
    task, outcome = train_reader(tiny, examples, examples, recipe, tmp_path / "run")
    changed = task.parts(outcome.parameters).adapter.layers
    assert changed
    assert not any(".layer.1." in f".{name}." for name in changed)
    assert outcome.best > outcome.history[0]["f1"]
    folder = tmp_path / "shelf" / "shallow"
    numbers = {"f1": outcome.best}
    save_reader(
        task, outcome, recipe, UNCALIBRATED, folder, training={}, numbers=numbers, card="# Tiny\n"
    )
    loaded = SpanReader.load(tiny, folder)
    assert loaded.settings.layers == 1
    passages = [[Passage(each.id, each.context)] for each in examples[:5]]
    questions = [each.question for each in examples[:5]]
    found = loaded.read(questions, passages, n_best=3)
    layers = tiny.model.encoder.layer  # type: ignore[union-attr]
    tiny.model.encoder.layer = layers[:1]  # type: ignore[union-attr]
    try:
        whole = SpanReader(tiny, loaded._head, loaded._adapter, replace(SETTINGS, layers=None))
        expected = whole.read(questions, passages, n_best=3)
    finally:
        tiny.model.encoder.layer = layers  # type: ignore[union-attr]
    for one, other in zip(found, expected, strict=True):
        assert [span.text for span in one.spans] == [span.text for span in other.spans]
        assert [s.score for s in one.spans] == pytest.approx(
            [s.score for s in other.spans], abs=1e-4
        )
        assert one.gflops == pytest.approx(other.gflops / 2)
    # One that began as a deep one keeps of it what it runs.
    deep, finished = train_reader(
        tiny, examples, examples, replace(recipe, settings=SETTINGS), tmp_path / "deep"
    )
    start = deep.parts(finished.parameters)
    begun, _ = train_reader(tiny, examples, examples, recipe, tmp_path / "cut", start=start)
    assert set(begun.parts().adapter.layers) == set(changed)
    with pytest.raises(ConfigError, match="3 lower layers of a model that has 2"):
        SpanReader(tiny, loaded._head, None, replace(SETTINGS, layers=3)).read(questions, passages)
    with pytest.raises(ConfigError, match="at least 1 layer, not 0"):
        replace(SETTINGS, layers=0)
    with pytest.raises(SpecialistError, match="at least 1 layer"):
        ReaderSettings.of(replace(SETTINGS).record() | {"layers": 0})
    for name in tiny.adapters:
        tiny.remove_adapter(name)


def test_a_reader_learned_from_nothing(tiny: Backbone, tmp_path: Path) -> None:
    examples = colour_questions(60)
    plan = Plan(measure="f1", epochs=20, learning_rate=1e-2, evaluations=1, patience=10)
    recipe = Recipe(rank=8, alpha=16, batch_size=8, unanswerable=0.2, settings=SETTINGS, plan=plan)
    base = tiny.encode(["alpha"])
    task, outcome = train_reader(tiny, examples, examples, recipe, tmp_path / "run")
    trained = task.reader(outcome.parameters)
    assert outcome.best > 90
    assert 100 * f1(trained, examples) == pytest.approx(outcome.best)
    assert outcome.history[0]["f1"] < outcome.best
    # The rule was learned, not the answers.
    assert f1(trained, colour_questions(30, seed=1)) > 0.6
    assert np.array_equal(tiny.encode(["alpha"]), base)

    calibration = Calibration((0.1, 0.5, 0.1, -0.2, -0.1), 0.25)
    folder = tmp_path / "shelf" / "reader-tiny"
    save_reader(
        task,
        outcome,
        recipe,
        calibration,
        folder,
        training={"seed": 0},
        numbers={"f1": outcome.best},
        card="# Tiny\n",
    )
    loaded = SpanReader.load(tiny, folder)
    assert loaded.settings == replace(SETTINGS, calibration=calibration)
    for before, after in zip(
        read_own_context(trained.calibrated(calibration), examples),
        read_own_context(loaded, examples),
        strict=True,
    ):
        assert before.spans[0].text == after.spans[0].text
        assert after.spans[0].score == pytest.approx(before.spans[0].score, abs=0.1)
        assert after.confidence == pytest.approx(before.confidence, abs=0.02)
    for name in tiny.adapters:
        tiny.remove_adapter(name)

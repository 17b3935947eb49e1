"""A training step of a reader, an expert and a pair head: ours against the Trainer with PEFT.

Both train a LoRA adapter of the same rank on all linear layers and the same head, on the same data
in batches of the same size. "defaults" is what a script with PEFT and the Hugging Face Trainer does
by itself (fp32, the base's dropout on, batches drawn at random); "tuned" takes bf16 where that is
fast, no dropout in the frozen base, and our batches of similar length. There are as many batches
as rounds where the data suffice, so that each way is timed on all of them.

    python benchmarks/training_step.py --squad SQUAD_FILE --beir BEIR_DIR --out results/training_step
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import nn
from training_specialists import BATCH, Expert, PairHead, Reader, Specialist, relevant_pairs
from turns import in_turn

from pointsman.backbone.device import cpu_has_bf16
from pointsman.data.squad import read_squad
from pointsman.errors import InputError
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Column, Table
from pointsman.read.recipe import training_backbone
from pointsman.sample import sample_directory

OURS = "pointsman"
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# How far first losses may lie apart: formats differ, and the rival's span head may also choose the
# question's tokens.
TOLERANCE = 0.1

Batches = Sequence[Sequence[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--squad", type=Path, default=None, help="a SQuAD file, for the reader")
    parser.add_argument("--beir", type=Path, default=None, help="a BEIR directory, for the others")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)
    rows = arguments.rounds * BATCH
    backbone = training_backbone(None, "cpu")
    bf16 = cpu_has_bf16()
    notes = [f"bf16 {'is' if bf16 else 'is not'} fast on this processor."]
    specialists: list[Specialist] = []
    if arguments.squad:
        specialists.append(Reader(backbone, some(list(read_squad(arguments.squad)), rows, rng)))
    else:
        notes.append("The reader is left out: no SQuAD file was given.")
    relevant, passages = relevant_pairs(arguments.beir or sample_directory())
    relevant = some(relevant, rows, rng)
    specialists.append(Expert(backbone, relevant))
    specialists.append(PairHead(backbone, relevant, passages, rng))
    tables = []
    for specialist in specialists:
        tables.append(measured(specialist, bf16, arguments.rounds, rng, notes))
        print(tables[-1].to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, tables, provenance)


def some(items: Sequence[Any], count: int, rng: random.Random) -> list[Any]:
    """As many of the items, drawn at random, or all where there are fewer."""
    return rng.sample(list(items), min(count, len(items)))


def measured(
    specialist: Specialist, bf16: bool, rounds: int, rng: random.Random, notes: Sequence[str]
) -> Table:
    """One kind of specialist, trained the three ways in turn."""
    size = min(rounds, len(specialist.items) // BATCH) * BATCH
    if not size:
        found = len(specialist.items)
        raise InputError(f"{specialist.name}: a batch takes {BATCH} examples, the data has {found}")
    items = some(specialist.items, size, rng)
    by_length = sorted(items, key=specialist.length)
    at_random, alike = batches(items), batches(by_length)
    rng.shuffle(alike)
    defaults, tuned = rival(specialist, False), rival(specialist, bf16, NO_DROPOUT)
    # A few rows of the same length: the rival's span head may choose padding, ours may not.
    middle = by_length[size // 2 - 4 : size // 2 + 4]
    for each in (defaults, tuned):
        check(specialist, each, middle, bf16)
    ways = {
        OURS: own_step(specialist, alike, bf16),
        "Trainer and PEFT, defaults": rival_step(specialist, defaults, at_random),
        "Trainer and PEFT, tuned": rival_step(specialist, tuned, alike),
    }
    turns = in_turn(ways, rounds, rng.randrange(1 << 30), warm_up=2)
    mean = round(sum(map(specialist.length, items)) / size)
    return Table(
        f"{specialist.name}: a step of {BATCH} rows of {mean} tokens on average, "
        f"rank {specialist.rank} on all linear layers, {torch.get_num_threads()} threads",
        ["way", "median ms", Column("× ours", 2), Column("lower quartile", 2), Column("upper", 2)],
        [[way, *turns.row(way, OURS)] for way in ways],
        notes,
    )


def batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[i : i + BATCH] for i in range(0, len(items), BATCH)]


def own_step(specialist: Specialist, given: Batches, bf16: bool) -> Callable[[], object]:
    """What the training loop does for a batch."""
    parameters = list(specialist.parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    rest = cycle(given)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, bf16):
            loss = specialist.loss(next(rest))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@dataclass(frozen=True)
class Rival:
    """A model and an optimiser as the Trainer's loop has prepared them, and the Trainer."""

    trainer: Any
    model: Any
    optimizer: Any


def rival(specialist: Specialist, bf16: bool, config: dict[str, float] | None = None) -> Rival:
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, use_cpu=True, bf16=bf16, report_to="none")
        trainer = Trainer(specialist.rival(**(config or {})), arguments)
    # What `train` does before its first step. Without `prepare` there would be no bf16.
    trainer.current_gradient_accumulation_steps = 1
    trainer.create_optimizer()
    return Rival(trainer, *trainer.accelerator.prepare(trainer.model, trainer.optimizer))


def rival_step(specialist: Specialist, rival: Rival, given: Batches) -> Callable[[], object]:
    """What the Trainer's loop does for a batch."""
    trainer, model = rival.trainer, rival.model
    rest = cycle(given)

    def step() -> None:
        trainer.training_step(model, specialist.inputs(next(rest)))
        trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
        rival.optimizer.step()
        model.zero_grad()

    return step


def check(specialist: Specialist, rival: Rival, batch: Sequence[Any], bf16: bool) -> None:
    """Both sides train as many weights, and begin at about the same loss; else they do two things.

    An adapter that has not been trained changes nothing, so its dropout changes nothing either.
    """
    own = sum(each.numel() for each in specialist.parameters().values())
    model: nn.Module = rival.model.eval()
    theirs = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert own == theirs, f"{specialist.name}: {own} weights are trained here, {theirs} there"
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16, bf16):
            our_loss = float(specialist.loss(batch))
        their_loss = float(model(**specialist.inputs(batch))["loss"])
    assert abs(our_loss - their_loss) <= TOLERANCE * their_loss, (
        f"{specialist.name}: the first loss is {our_loss:.4f} here, {their_loss:.4f} there"
    )


if __name__ == "__main__":
    main()

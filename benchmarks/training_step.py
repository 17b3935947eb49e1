"""A training step of a reader: Pointsman against the Hugging Face Trainer with PEFT, at its defaults.

Both train a LoRA adapter of the same rank on all linear layers and a span head, on the same windows
in the same batches. "defaults" is what a script with PEFT and the Trainer does by itself (fp32, the
base's dropout on, batches in the order of the data); "tuned" takes bf16, no dropout in the frozen
base, and batches of similar length.

    python benchmarks/training_step.py --data SQUAD_FILE --out results/training_step
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from turns import in_turn

from pointsman.backbone.device import cpu_has_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import linear_layers, new_adapter
from pointsman.backbone.pairs import collate
from pointsman.backbone.weights import locate
from pointsman.data.squad import read_squad
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.read.head import SpanHead
from pointsman.read.recipe import training_backbone
from pointsman.read.task import ReaderData, ReaderTask, Target

BATCH = 32
RANK = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a SQuAD file")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    examples = random.Random(arguments.seed).sample(list(read_squad(arguments.data)), 640)
    backbone = training_backbone(None, "cpu")
    generator = torch.Generator().manual_seed(0)
    task = ReaderTask(
        backbone,
        new_adapter(backbone.model, RANK, 2 * RANK, generator),
        SpanHead.fresh(backbone.shape.width, generator),
        ReaderData(examples, [], [[] for _ in examples], 0.0),
        lambda reader: {},
        batch_size=BATCH,
        dropout=0.1,
    )
    bucketed = task.batches(0)
    targets = [target for batch in bucketed for target in batch]
    random.Random(arguments.seed).shuffle(targets)
    shuffled = [targets[i : i + BATCH] for i in range(0, len(targets) - BATCH, BATCH)]
    bf16 = cpu_has_bf16()
    ways = {
        "pointsman": own_step(task, bucketed, bf16),
        "Trainer and PEFT, defaults": rival_step(backbone, shuffled, False),
        "Trainer and PEFT, tuned": rival_step(backbone, bucketed, bf16, dropout=0.0),
    }
    turns = in_turn(ways, arguments.rounds, arguments.seed, warm_up=2)
    rows: list[list[Cell]] = [
        [way, 1000 * turns.median(way), *turns.ratio(way, "pointsman")] for way in ways
    ]
    table = Table(
        f"A step of {BATCH} windows, rank {RANK} on all linear layers",
        ["way", "median ms", Column("× ours", 2), Column("lower quartile", 2), Column("upper", 2)],
        rows,
        notes=(f"bf16 {'is' if bf16 else 'is not'} fast on this processor.",),
    )
    print(table.to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, [table], provenance)


def own_step(task: ReaderTask, batches: list[list[Target]], bf16: bool) -> Callable[[], object]:
    parameters = list(task.parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    rest: Iterator[list[Target]] = cycle(batches)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, bf16):
            loss = task.loss(next(rest))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def rival_step(
    backbone: Backbone, batches: list[list[Target]], bf16: bool, dropout: float | None = None
) -> Callable[[], object]:
    """One call of `Trainer.training_step` and of its optimiser."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForQuestionAnswering, Trainer, TrainingArguments

    more: dict[str, Any] = {}
    if dropout is not None:
        more = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    base = AutoModelForQuestionAnswering.from_pretrained(locate(None).path, **more)
    targets = [f"bert.{name}" for name in linear_layers(backbone.model)]
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=targets, lora_dropout=0.1,
        modules_to_save=["qa_outputs"],
    )  # fmt: skip
    model = get_peft_model(base, config).train()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model, TrainingArguments(folder, use_cpu=True, bf16=bf16, report_to="none")
        )
    trainer.create_optimizer()
    rest: Iterator[list[Target]] = cycle(batches)

    def step() -> None:
        batch = next(rest)
        inputs = collate([target.window for target in batch], 0)
        inputs["start_positions"] = torch.tensor([next(iter(target.start)) for target in batch])
        inputs["end_positions"] = torch.tensor([next(iter(target.end)) for target in batch])
        trainer.training_step(model, inputs)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        trainer.optimizer.step()
        model.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()

"""How far an allocation moves where questions are misspelt, passages distract, or hold no answer; a defence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pointsman.evaluate.calibration import ece
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.ablations import PRICE
from pointsman.experiments.deferral.bed import Bed
from pointsman.experiments.deferral.measured import outcome
from pointsman.experiments.deferral.rows import (
    BEST,
    OURS,
    SURROGATE,
    Fold,
    Given,
    Learned,
    decided,
    rows,
)
from pointsman.experiments.deferral.specialists import Asked, Specialists
from pointsman.experiments.deferral.troubles import TROUBLES

PLAIN = "as they are"
DEFENDED = f"{OURS}, fitted to these too"


def tampered(own: Specialists, plain: Learned) -> Table:
    """Fitted to the record as it is and, as a defence, to some of it made harder in the same ways too."""
    record, seed = plain.train, plain.seed
    tests = _troubled(own, own.test, seed)
    records = [bed for name, bed in _troubled(own, own.record, seed + 1).items() if name != PLAIN]
    hardened = Bed.stacked([record, *records])
    every = {row.name: row for row in rows(record)}
    columns: list[Column | str] = [
        "questions",
        "row",
        Column("EM", scale=100, decimals=2),
        Column("cost", scale=100),
        Column("asked others than before", scale=100),
        Column("believed right", scale=100),
        Column("ECE", decimals=3),
        Column("EM against best single", scale=100, decimals=2),
    ]
    cells: list[list[Cell]] = []
    # What each way learned does not depend on the test.
    defended = Learned(hardened, 0, seed)
    before: dict[str, Given] = {}
    for name, test in tests.items():
        single = outcome(test, decided(test, every[BEST], PRICE, [Fold.whole(plain, test)]))[0]
        for way, learned in (
            (BEST, plain),
            (SURROGATE, plain),
            (OURS, plain),
            (DEFENDED, defended),
        ):
            row = every[OURS if way == DEFENDED else way]
            given = decided(test, row, PRICE, [Fold.whole(learned, test)])
            moved = (given.asked != before.setdefault(way, given).asked).any(axis=1)
            em, _, cost = outcome(test, given)
            line: list[Cell] = [name, way, float(em.mean()), float(cost.mean())]
            line.append(None if name == PLAIN else float(moved.mean()))
            sure = given.chance
            if sure is None:
                line += [None, None]
            else:
                line += [float((sure >= 0.5).mean()), ece(sure, em.astype(bool))]
            line.append(bootstrap_interval(em - single, test.clusters.tolist()))
            cells.append(line)
    count = len(tests[PLAIN])
    note = (
        f"{count:,} test questions, at price {PRICE:g}. Believed right: a chance of a half or more; where "
        "there is no answer nothing should be. The defence learned from "
        f"{sum(map(len, records)):,} questions of the record that were made harder in the same ways."
    )
    return Table("readers of our own: made harder", columns, cells, [note])


def _troubled(own: Specialists, asked: Sequence[Asked], seed: int) -> Mapping[str, Bed]:
    """Some of them as they are, and made harder in every way."""
    some = own.some(asked)
    found = {PLAIN: own.bed([each for mine in some for each in mine])}
    for name, make in TROUBLES.items():
        harder: list[Asked] = []
        for mine in some:
            made = make([each.example for each in mine], seed)
            harder += [Asked(each.number, one) for each, one in zip(mine, made, strict=True)]
        found[name] = own.bed(harder)
    return found

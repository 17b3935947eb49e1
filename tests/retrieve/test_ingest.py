from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pointsman.deadline import Deadline
from pointsman.errors import BackboneMismatchError, DeadlineError, InputError
from pointsman.retrieve.ingest import ingest
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Passage

Numbered = Callable[..., list[Passage]]


def of(source: str, *texts: str) -> list[Passage]:
    return [
        Passage(f"{source}#{i}", text, document=source, metadata={"source": source})
        for i, text in enumerate(texts)
    ]


def test_encodes_once_and_only_what_changed(index: LanceIndex, encoder, numbered: Numbered) -> None:
    passages = numbered(10)
    done: list[int] = []
    first = ingest(index, encoder, iter(passages), batch_size=4, progress=done.append)
    assert (first.added, first.replaced, first.unchanged, first.removed) == (10, 0, 0, 0)
    assert first.seconds > 0
    assert done == [4, 8, 10]
    assert encoder.encoded == [passage.content for passage in passages]
    assert index.get(index.ids()) == passages
    found = index.search(encoder.encode([passages[3].content], prompt="document"), 1)
    assert found[0][0].passage == passages[3]

    encoder.encoded.clear()
    again = ingest(index, encoder, passages)
    assert (again.added, again.replaced, again.unchanged) == (0, 0, 10)
    assert encoder.encoded == []

    passages[2] = replace(passages[2], text="rewritten")
    passages[5] = replace(passages[5], metadata={**passages[5].metadata, "year": 1})
    passages[6] = replace(passages[6], start=1)
    changed = ingest(index, encoder, [*passages, Passage("new", "new")])
    assert (changed.added, changed.replaced, changed.unchanged) == (1, 3, 7)
    assert encoder.encoded == [passages[i].content for i in (2, 5, 6)] + ["new"]
    assert index.get([passage.id for passage in passages]) == passages


def test_blank_and_unsafe_passages(index: LanceIndex, encoder) -> None:
    odd = Passage("odd\ud800", "lone \udfff", metadata={"k": "\x00"})
    report = ingest(index, encoder, [Passage("a", " \n\t"), Passage("b", ""), odd])
    assert report.blank == ("a", "b")
    assert report.added == 1
    assert index.ids() == ["odd\ufffd"]
    assert ingest(index, encoder, [odd]).unchanged == 1


def test_a_stopped_run_goes_on_where_it_was(index: LanceIndex, encoder, numbered: Numbered) -> None:
    def stopped() -> Iterator[Passage]:
        yield from numbered(7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(index, encoder, stopped(), batch_size=3)
    assert len(index) == 6
    assert len(index.search(None, 10, ["passage"])[0]) == 6
    encoder.encoded.clear()
    report = ingest(index, encoder, numbered(10), batch_size=3)
    assert (report.added, report.unchanged) == (4, 6)
    assert len(encoder.encoded) == 4


def test_a_deadline_keeps_the_batches_before_it(
    index: LanceIndex, encoder, numbered: Numbered
) -> None:
    deadline = Deadline()
    with pytest.raises(DeadlineError, match="indexing, with 4 passages done"):
        ingest(
            index,
            encoder,
            numbered(9),
            batch_size=4,
            progress=lambda _: deadline.cancel(),
            deadline=deadline,
        )
    assert len(index) == 4


@pytest.mark.parametrize("batch_size", [2, 10])
def test_an_id_that_comes_twice_is_an_error(
    index: LanceIndex, encoder, numbered: Numbered, batch_size: int
) -> None:
    ingest(index, encoder, numbered(3))
    twice = [*numbered(4), Passage("p001", "other text")]
    with pytest.raises(InputError, match="'p001'"):
        ingest(index, encoder, twice, batch_size=batch_size)
    assert index.get(["p001"]) == [numbered(2)[1]]


def test_without_upsert_a_changed_passage_is_an_error(
    index: LanceIndex, encoder, numbered: Numbered
) -> None:
    ingest(index, encoder, numbered(3))
    assert ingest(index, encoder, numbered(4), upsert=False).added == 1
    with pytest.raises(InputError, match="already in the index: id 'p000'"):
        ingest(index, encoder, [Passage("p000", "changed")], upsert=False)
    assert index.get(["p000"]) == numbered(1)


def test_missing_passages_of_the_same_sources_are_removed(index: LanceIndex, encoder) -> None:
    unsourced = [Passage("free", "no source")]
    ingest(index, encoder, [*of("it's", "1", "2", "3"), *of("b", "1", "2"), *unsourced])
    everything = index.ids()

    shorter = [*of("it's", "1"), *of("c", "1")]
    assert ingest(index, encoder, shorter).removed == 0
    assert index.ids() == sorted([*everything, "c#0"])

    report = ingest(index, encoder, shorter, remove_missing=True)
    assert (report.removed, report.unchanged) == (2, 2)
    assert index.ids() == ["b#0", "b#1", "c#0", "free", "it's#0"]  # b was no part of this run

    report = ingest(index, encoder, of("c", ""), remove_missing=True, sources=["b", "nowhere"])
    assert report.removed == 3
    assert report.blank == ("c#0",)
    assert index.ids() == ["free", "it's#0"]
    assert ingest(index, encoder, [], remove_missing=True).removed == 0


def test_nothing_is_removed_when_the_run_did_not_end(index: LanceIndex, encoder) -> None:
    ingest(index, encoder, of("a", "1", "2", "3"))

    def broken() -> Iterator[Passage]:
        yield from of("a", "1")
        raise InputError("unreadable")

    with pytest.raises(InputError, match="unreadable"):
        ingest(index, encoder, broken(), batch_size=1, remove_missing=True)
    assert len(index) == 3


def test_another_encoder_is_refused_before_anything(
    index: LanceIndex, encoder, numbered: Numbered
) -> None:
    encoder.identity = replace(encoder.identity, sha256="0" * 64)
    with pytest.raises(BackboneMismatchError):
        ingest(index, encoder, numbered(2))
    with pytest.raises(InputError, match="batch_size"):
        ingest(index, encoder, numbered(2), batch_size=0)
    assert encoder.encoded == []
    assert len(index) == 0

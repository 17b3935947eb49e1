from __future__ import annotations

from pointsman.route.made import made_queries
from pointsman.types import Passage


def test_title_and_first_sentence() -> None:
    passage = Passage("p", "A bridge of ropes hangs here. It sways.", title="Bridges of the Alps")
    assert [(query.text, dict(query.relevant)) for query in made_queries([passage])] == [
        ("Bridges of the Alps", {"p": 1}),
        ("A bridge of ropes hangs here.", {"p": 1}),
    ]


def test_passages_of_one_document_share_its_title() -> None:
    title = "Bridges of the Alps"
    made = made_queries([Passage("p#0", "Yes.", title), Passage("p#1", "No.", title)])
    assert [(query.text, dict(query.relevant)) for query in made] == [(title, {"p#0": 1, "p#1": 1})]


def test_an_abbreviation_inside_a_word_ends_no_sentence() -> None:
    (query,) = made_queries([Passage("p", "Version 2.13 of torch came out today! More.")])
    assert query.text == "Version 2.13 of torch came out today!"


def test_what_is_no_query_is_left_out() -> None:
    long = "word " * 50
    passages = [
        Passage("a", "", "Tea"),
        Passage("b", long),
        Passage("c", "  \n "),
        Passage("d", "Hm."),
    ]
    assert made_queries(passages) == []


def test_text_without_a_full_stop_and_in_other_scripts() -> None:
    passages = [Passage("a", "one two three\nfour"), Passage("b", "红 茶 很 好。绿茶也好。")]
    assert [query.text for query in made_queries(passages)] == [
        "one two three four",
        "红 茶 很 好。",
    ]


def test_ids_are_unique() -> None:
    passages = [Passage(f"p{i}", f"It is number {i} of many.", "All the numbers") for i in range(5)]
    ids = [query.id for query in made_queries(passages)]
    assert len(set(ids)) == len(ids) == 6

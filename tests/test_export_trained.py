"""What a card says of the corpora that a model has heard."""

from pathlib import Path

from tiny_corpus import tiny_corpus, tiny_recipe

from lightser.export.trained import corpora_of, limits_of
from lightser.training.crossval import make_plan
from lightser.training.recipe import Choice


def test_a_card_names_every_corpus_that_was_heard():
    table = tiny_corpus()
    of = {"s0": "ravdess", "s1": "emodb", "s2": "a friend's"}
    table = table.assign(corpus=table["speaker"].map(of))
    table = table.assign(language=table["speaker"].map({"s0": "en", "s1": "de", "s2": "de"}))
    recipe = tiny_recipe(corpus=Choice(name="table"))
    plan = make_plan(recipe, table, name="t", out=Path("unused"))
    heard = {corpus.corpus: corpus for corpus in corpora_of(plan)}
    assert list(heard) == ["ravdess", "emodb", "table"]
    assert {c.utterances for c in heard.values()} == {len(table) // 3}
    assert {c.speakers for c in heard.values()} == {1}
    assert heard["ravdess"].license == "CC-BY-NC-SA-4.0" and heard["ravdess"].language == "en"
    assert f"{len(table)} acted utterances by 3 speakers in de, en." in limits_of(plan)


def test_a_corpus_of_its_own_is_named_alone():
    plan = make_plan(tiny_recipe(), tiny_corpus(), name="t", out=Path("unused"))
    (corpus,) = corpora_of(plan)
    assert (corpus.corpus, corpus.license, corpus.utterances) == (
        *("emodb", "CC0-1.0"),
        len(plan.table),
    )

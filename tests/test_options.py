"""Options of recipes: what fits no signature is answered in a line, before anything runs."""

import re
from pathlib import Path

import pytest
from tiny_corpus import tiny_corpus, tiny_recipe

from lightser.corpora import load_corpus
from lightser.corpora.splits import make_folds
from lightser.errors import BadRecipe, UnknownName
from lightser.training.jobs import build_system
from lightser.training.recipe import Choice


@pytest.mark.parametrize(
    ("name", "options", "answer"),
    [
        ("table", {"columns": 3}, "corpus.columns must be a table, each value a text, not 3"),
        ("table", {"columns": {"label": 3}}, "corpus.columns must be a table, each value a text"),
        ("table", {"labels": "joy"}, "corpus.labels must be a table, each value a text, not 'joy'"),
        ("table", {"audio": 1}, "corpus.audio must be a text, not 1"),
        ("iemocap", {"labels": "joy"}, "corpus.labels must be a list, each item a text, not 'joy'"),
        ("iemocap", {"strict": "no"}, "corpus.strict must be true or false, not 'no'"),
    ],
)
def test_an_option_of_a_corpus_is_of_its_kind(name, options, answer):
    with pytest.raises(BadRecipe, match=re.escape(answer)):
        load_corpus(name, Path("nowhere"), **options)


@pytest.mark.parametrize("option", ["styles", "root"])
def test_an_option_that_a_corpus_does_not_have_is_named(option):
    with pytest.raises(UnknownName, match=f"option of corpus 'emodb' '{option}'"):
        load_corpus("emodb", Path("nowhere"), **{option: "acted"})


@pytest.mark.parametrize(
    ("name", "options", "answer"),
    [
        (
            "random_kfold",
            {"valid_share": "0.1"},
            "protocol.valid_share must be a number, not '0.1'",
        ),
        ("csv", {"file": 3}, "protocol.file must be a text, not 3"),
        ("speaker_kfold", {"valid": "false"}, "protocol.valid must be true or false, not 'false'"),
        ("speaker_kfold", {"k": True}, "protocol.k must be a whole number, not True"),
        (
            "zhong2020",
            {"rotate_test": "no"},
            "protocol.rotate_test must be true or false, not 'no'",
        ),
    ],
)
def test_an_option_of_a_protocol_is_of_its_kind(name, options, answer):
    with pytest.raises(BadRecipe, match=re.escape(answer)):
        make_folds(name, tiny_corpus(), **options)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (
            {"model": Choice(name="light_sernet", options={"momentum": "a"})},
            "model.momentum must be",
        ),
        ({"frontend": Choice(name="zhong2020", options={"hop": 0})}, "front end 'zhong2020': "),
        (
            {"frontend": Choice(name="relative_logmel", options={"n_bands": -1})},
            "'relative_logmel': ",
        ),
        ({"window_s": 1e-9}, "window_s must be a sample or more; 1e-09 seconds are less"),
    ],
)
def test_a_network_that_cannot_be_made_is_answered_in_a_line(change, answer):
    with pytest.raises(BadRecipe, match=re.escape(answer)) as caught:
        build_system(tiny_recipe(**change), 3)
    assert "\n" not in str(caught.value)

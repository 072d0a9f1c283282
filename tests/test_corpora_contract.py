"""What every corpus in the registry promises."""

import inspect

import pytest

from lightser.corpora import CORPORA, load_corpus
from lightser.errors import BadCorpus, UnknownName

ONES_OWN = ("folder", "table", "together")  # of no publisher, so without citation and page


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_states_title_and_licence(name):
    corpus = CORPORA[name]
    assert corpus.name == name
    assert corpus.title
    assert corpus.license


@pytest.mark.parametrize("name", [name for name in CORPORA if name not in ONES_OWN])
def test_a_published_corpus_states_citation_page_language_and_labels(name):
    corpus = CORPORA[name]
    assert corpus.cite.startswith("@") and corpus.cite.rstrip().endswith("}")
    assert corpus.cite.count("{") == corpus.cite.count("}")
    assert corpus.url.startswith("http")
    assert len(corpus.language) in (0, 2)  # said per utterance, or no words at all
    assert len(set(corpus.labels)) == len(corpus.labels) > 1
    assert corpus.utterances


@pytest.mark.parametrize("name", [name for name, corpus in CORPORA.items() if corpus.counts])
def test_counts_per_label_add_up_to_all_utterances(name):
    corpus = CORPORA[name]
    assert set(corpus.counts) == set(corpus.labels)
    assert sum(corpus.counts.values()) == corpus.utterances


@pytest.mark.parametrize("name", CORPORA)
def test_loading_an_empty_folder_is_answered_with_one_line(name, tmp_path):
    with pytest.raises(BadCorpus) as error:
        load_corpus(name, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CORPORA)
def test_loading_a_folder_that_is_not_there_is_answered_with_one_line(name, tmp_path):
    with pytest.raises(BadCorpus) as error:
        load_corpus(name, tmp_path / "nowhere")
    assert "nowhere" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CORPORA)
def test_options_of_a_loader_are_named_and_have_defaults(name):
    _, *options = inspect.signature(CORPORA[name].load).parameters.values()
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options)


def test_a_slip_in_the_name_of_a_corpus_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'emodb'"):
        load_corpus("emo-db", tmp_path)

"""Errors: one line each, whole again on the other side of a process."""

import pickle

import pytest

from lightser import errors

ALL = [
    errors.BadAudio("a"),
    errors.BadCorpus("b"),
    errors.BadRecipe("c"),
    errors.BadModel("d"),
    errors.BadResults("e"),
    errors.UnknownName("pet", "cta", ["cat", "dog"]),
    errors.MissingExtra("Training", "train"),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_comes_out_of_another_process_as_it_went_in(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all():
    assert str(errors.UnknownName("pet", "cta", ["dog", "cat"])) == (
        "Unknown pet 'cta'; did you mean 'cat'? Known: cat, dog"
    )
    assert str(errors.UnknownName("pet", "xyz", [])) == "Unknown pet 'xyz'. Known: none"

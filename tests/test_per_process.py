"""A recogniser in many processes: forked, spawned, pickled and copied, with the same answers."""

import copy
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from model_folder import ANGER, HAPPINESS, MODEL, SADNESS, write_model

from lightser import Recognizer, bundled
from lightser.audio.files import read_audio
from lightser.errors import BadModel, LightserError
from lightser.inference.listening import Listening, Manner
from lightser.inference.per_process import PerProcess

CLIPS = [ANGER, HAPPINESS, SADNESS]
PATIENCE_S = 120  # a process that hangs must not hang the tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


def loaded(folder: Path, threads: int = 1) -> Recognizer:
    return Recognizer.load(folder, labels=["anger", "fear", "sadness"], threads=threads)


METHODS = [
    pytest.param(method, marks=pytest.mark.skipif(method not in known, reason="not on this system"))
    for known in [multiprocessing.get_all_start_methods()]
    for method in ("fork", "spawn", "forkserver")
]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threads", [1, 4])
def test_a_pool_of_processes_answers_as_we_do(folder: Path, method: str, threads: int) -> None:
    recognizer = loaded(folder, threads)
    expected = [recognizer.predict(clip) for clip in CLIPS]  # its threads run from here on
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        got = list(pool.map(recognizer.predict, CLIPS, timeout=PATIENCE_S))
    assert got == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_who_is_forked_listens_on_while_the_parent_does(folder: Path) -> None:
    """Without a pickle: what the child has is what the parent had, in the middle of its work."""
    recognizer = loaded(folder, threads=4)
    speech = np.concatenate([read_audio(clip) for clip in CLIPS])
    expected = list(recognizer.segments(speech, 16_000, window_s=1, hop_s=0.25))
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            recognizer.predict(speech, 16_000)

    others = [threading.Thread(target=busy) for _ in range(2)]
    for other in others:
        other.start()
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        mine, its = context.Pipe()

        def answer(its=its) -> None:
            its.send(list(recognizer.segments(speech, 16_000, window_s=1, hop_s=0.25)))

        child = context.Process(target=answer)
        child.start()
        said = mine.recv() if mine.poll(PATIENCE_S) else None
        child.kill()
        child.join()
        assert said == expected
    over.set()
    for other in others:
        other.join()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pickle_holds_no_weights_and_answers_the_same(folder: Path, threads: int) -> None:
    recognizer = loaded(folder, threads)
    written = pickle.dumps(recognizer)
    assert len(written) < 1_000 < (folder / MODEL).stat().st_size
    again = pickle.loads(written)
    assert again.labels == recognizer.labels and again.threads == threads
    assert again.predict(ANGER) == recognizer.predict(ANGER)


def test_a_pickle_finds_a_bundled_model_wherever_it_is_installed() -> None:
    written = pickle.dumps(Recognizer.load())
    assert bundled.default_model().encode() in written
    assert str(bundled.WEIGHTS).encode() not in written
    assert pickle.loads(written).predict(ANGER) == Recognizer.load().predict(ANGER)


def test_a_pickle_does_not_depend_on_where_one_works(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    recognizer = Recognizer.load("./small")
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickle.dumps(recognizer))
    assert again.predict(ANGER) == recognizer.predict(ANGER)


def test_a_pickle_of_another_model_than_lies_there_is_refused(tmp_path: Path) -> None:
    written = pickle.dumps(Recognizer.load(write_model(tmp_path / "m", seed=1)))
    write_model(tmp_path / "m", seed=2)
    with pytest.raises(BadModel, match="another model than when it was pickled"):
        pickle.loads(written)


def test_a_model_that_was_changed_is_refused_after_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer.load(write_model(tmp_path / "m", seed=1))
    write_model(tmp_path / "m", seed=2)
    recognizer.predict(ANGER)  # what is open stays so
    ours = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: ours + 1)  # as a child sees it
    with pytest.raises(BadModel, match="its card says"):
        recognizer.predict(ANGER)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_share_the_model(folder: Path, copied) -> None:
    recognizer = loaded(folder, threads=2)
    one = copied(recognizer)
    assert one is not recognizer and one._session() is recognizer._session()
    assert one.predict(ANGER) == recognizer.predict(ANGER)


def test_who_listens_in_a_manner_is_pickled_with_it(folder: Path) -> None:
    listening = Listening(loaded(folder), Manner(window_s=1))
    again = pickle.loads(pickle.dumps(listening))
    assert list(again.segments(ANGER)) == list(listening.segments(ANGER))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_who_is_adapted_to_a_voice_stays_so_in_another_process(method: str) -> None:
    recognizer = Recognizer.load("emodb-light_sernet", labels=["anger", "fear", "sadness"])
    adapted = recognizer.adapted(recognizer.adapt(CLIPS))
    expected = [adapted.predict(clip) for clip in CLIPS]
    assert expected != [recognizer.predict(clip) for clip in CLIPS]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(adapted.predict, CLIPS, timeout=PATIENCE_S)) == expected


def test_a_pickle_says_in_one_line_that_its_model_is_gone(tmp_path: Path) -> None:
    written = pickle.dumps(Recognizer.load(write_model(tmp_path / "m")))
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    with pytest.raises(LightserError, match="There is no model folder"):
        pickle.loads(written)


def test_what_is_made_for_a_process_is_made_once_in_it() -> None:
    made = []
    value = PerProcess(lambda: made.append(1) or len(made))
    assert value() == value() == 1
    assert PerProcess(lambda: 1 / 0, "given")() == "given"

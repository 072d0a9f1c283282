"""``lightser evaluate``, with a small real model on the clips that ship with the package."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, plain_answer, write_model
from typer.testing import CliRunner, Result

import lightser.cli.evaluate  # registers its command
import lightser.cli.models  # noqa: F401
from lightser import Recognizer
from lightser.bundled import bundled_models
from lightser.card import HEARD, file_facts, read_card, write_card
from lightser.cli import app
from lightser.cli.evaluate import alike, match_labels, read_map
from lightser.corpora.heard import digests, read_heard, write_heard
from lightser.errors import BadCorpus, BadModel, BadResults, LightserError, UnknownName
from lightser.report.results import read_result

CLIPS = {"anger": ANGER, "sadness": SADNESS, "happiness": HAPPINESS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def emodb(tmp_path: Path) -> Path:
    """Return an Emo-DB of three clips, which the card of the model says that it was trained on."""
    folder = tmp_path / "emodb"
    folder.mkdir()
    for clip in CLIPS.values():
        shutil.copy(clip, folder)
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that sorts clips into folders by label: a corpus of one's own."""

    def make(**labels: Path) -> Path:
        root = tmp_path / "own"
        for label, clip in labels.items():
            (root / label).mkdir(parents=True)
            shutil.copy(clip, root / label)
        return root

    return make


def evaluate(model: Path, corpus: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", str(model), "--corpus", corpus, *words])


def test_answers_are_the_models_own_and_scores_follow_from_them(
    model: Path, labelled: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = evaluate(model, f"folder={labelled(**CLIPS)}", "--out", str(out))
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "predictions.csv").set_index("truth")
    for label, clip in CLIPS.items():
        samples, _ = soundfile.read(clip, dtype="float32")
        got = table.loc[label, [f"p_{name}" for name in LABELS]].to_numpy(float)
        if len(samples) <= 2.0 * 16_000:  # one window, so that the plain graph answers the same
            np.testing.assert_allclose(got, plain_answer(samples), atol=1e-4)
        assert table.loc[label, "predicted"] == LABELS[got.argmax()]
    right = int((table["predicted"] == table.index).sum())
    assert re.search(rf"^UA +{100 * right / 3:.1f}", done.stdout, re.M)
    assert read_result(out).scores["pooled"]["wa"] == pytest.approx(right / 3)


def test_another_corpus_is_an_honest_test_and_the_page_can_show_it(
    model: Path, labelled: Callable[..., Path], tmp_path: Path
) -> None:
    evaluate(model, f"folder={labelled(**CLIPS)}", "--out", str(tmp_path / "out"))
    result = read_result(tmp_path / "out")
    assert result.is_honest
    assert result.title == "tiny on folder"
    heard = "tested on all anger, happiness and sadness of folder, to which nothing was adapted"
    assert f"Trained on emodb, {heard}" in result.scores["protocol_note"]


def test_a_corpus_that_the_model_was_trained_on_gives_a_training_score_and_it_says_so(
    model: Path, emodb: Path, tmp_path: Path
) -> None:
    done = evaluate(model, f"emodb={emodb}", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "WARNING: tiny was trained on utterances of emodb" in done.stderr
    assert "a training score, not a test" in done.stdout
    result = read_result(tmp_path / "out")
    assert not result.is_honest
    assert result.caveats == ["test speakers in training"]

    table = tmp_path / "tables" / "same.csv"
    table.parent.mkdir()
    told = CliRunner().invoke(app, ["corpus", "table", "emodb", str(emodb), "--out", str(table)])
    assert told.exit_code == 0, told.output
    done = evaluate(model, f"table={table.parent}")
    assert "WARNING: tiny was trained on utterances of table" in done.stderr


def test_labels_that_the_model_does_not_know_are_left_out_and_counted(
    model: Path, labelled: Callable[..., Path], tmp_path: Path
) -> None:
    corpus = labelled(anger=ANGER, sadness=SADNESS, surprise=HAPPINESS)
    done = evaluate(model, f"folder={corpus}", "--out", str(tmp_path / "out"))
    assert "left out, as not among the labels to choose from: surprise (1)" in done.stderr
    assert "2 utterances" in done.stdout
    scores = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert scores["left_out"] == {"surprise": 1}
    assert "Left out: surprise (1)" in scores["protocol_note"]
    assert scores["n_utterances"] == 2


def test_nothing_is_proposed_to_choose_from_where_one_label_occurs(
    model: Path, labelled: Callable[..., Path]
) -> None:
    corpus = labelled(anger=ANGER, sadness=SADNESS)
    done = evaluate(model, f"folder={corpus}")
    assert "(--labels anger,sadness chooses from the others)" in done.stderr
    shutil.rmtree(corpus / "sadness")
    done = evaluate(model, f"folder={corpus}")
    assert "answers of that kind are wrong" in done.stderr and "--labels" not in done.stderr


def test_labels_to_choose_from_are_said_with_the_score(
    model: Path, labelled: Callable[..., Path], tmp_path: Path
) -> None:
    corpus = labelled(anger=ANGER, sadness=SADNESS)
    words = ("--labels", "anger,sadness", "--out", str(tmp_path / "out"))
    done = evaluate(model, f"folder={corpus}", *words)
    assert done.exit_code == 0 and "answers of that kind" not in done.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert scores["labels"] == ["anger", "sadness"] and scores["left_out"] == {}
    assert scores["title"] == "tiny on folder, choosing from 2 labels"
    assert "It chose from anger and sadness." in scores["protocol_note"]
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["predicted"].isin(["anger", "sadness"]).all()


def test_a_label_can_be_mapped_to_one_of_the_models(
    model: Path, labelled: Callable[..., Path], tmp_path: Path
) -> None:
    corpus = labelled(anger=ANGER, joy=HAPPINESS, surprise=SADNESS)
    words = ["--map", "joy=happiness,surprise=", "--out", str(tmp_path / "out")]
    evaluate(model, f"folder={corpus}", *words)
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert sorted(table["truth"]) == ["anger", "happiness"]


@pytest.mark.parametrize(
    ("found", "mapped", "error", "message"),
    [
        (["happy", "anger"], {}, BadCorpus, "--map happy=happiness"),
        (["ANGER", "fear"], {}, BadCorpus, "--map ANGER=anger"),
        (["joy", "rage"], {}, BadCorpus, "none in common"),
        (["anger"], {"joy": "happiness"}, UnknownName, "label of the corpus 'joy'"),
        (["joy"], {"joy": "happines"}, UnknownName, "did you mean 'happiness'"),
    ],
)
def test_labels_that_do_not_match_for_certain_are_refused(
    found: list[str], mapped: dict[str, str], error: type[LightserError], message: str
) -> None:
    with pytest.raises(error, match=message):
        match_labels(found, LABELS, mapped)


def test_a_label_is_mapped_once() -> None:
    with pytest.raises(LightserError, match="says both 'joy=anger' and 'joy=fear'"):
        read_map("joy=anger,joy=fear")


def test_a_spelling_can_be_left_out_by_an_empty_map() -> None:
    match = match_labels(["happy", "anger", "happy"], LABELS, {"happy": ""})
    assert match.names == {"anger": "anger"}
    assert match.left_out == {"happy": 2}
    assert "happiness" in match.never_true


@pytest.mark.parametrize("other", ["surprise", "calm", "frustration", "excitement", "joy"])
def test_other_emotions_are_no_spellings(other: str) -> None:
    assert alike(other, LABELS) is None


@pytest.mark.parametrize(
    ("short", "label"),
    [("hap", "happiness"), ("ang", "anger"), ("Sad", "sadness"), ("neu", "neutral")],
)
def test_the_short_names_of_corpora_are_recognised_as_spellings(short: str, label: str) -> None:
    assert alike(short, LABELS) == label


def test_a_clip_that_cannot_be_read_is_named_and_the_others_are_scored(
    model: Path, labelled: Callable[..., Path], tmp_path: Path
) -> None:
    corpus = labelled(**CLIPS)
    soundfile.write(corpus / "anger" / "silence.wav", np.zeros(16_000), 16_000)
    done = evaluate(model, f"folder={corpus}", "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "silence.wav" in done.stderr
    assert "not in the score: 1 of 4" in done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 3
    result = read_result(tmp_path / "out")
    assert not result.is_whole and result.part_words == "1 utterance could not be read"
    assert "tested on anger, happiness and sadness" in result.scores["protocol_note"]


def test_a_part_of_a_file_is_heard_alone(model: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(ANGER, dtype="float32")
    table = tmp_path / "parts.csv"
    table.write_text(
        f"file,start,end,label,speaker\n{ANGER},0.2,1.2,anger,10\n{ANGER},,,anger,10\n",
        encoding="utf-8",
    )
    done = evaluate(model, f"table={tmp_path}", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    answers = pd.read_csv(tmp_path / "out" / "predictions.csv")
    part = answers[answers["utterance"].str.contains("0.2-1.2", regex=False)]
    got = part[[f"p_{label}" for label in LABELS]].to_numpy(float)[0]
    expected = plain_answer(samples[round(0.2 * rate) : round(1.2 * rate)])
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_results_of_training_are_never_written_over(
    model: Path, emodb: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "scores.json").write_text('{"protocol": "loso"}', encoding="utf-8")
    done = evaluate(model, f"emodb={emodb}", "--out", str(out))
    assert isinstance(done.exception, BadResults)
    assert [file.name for file in out.iterdir()] == ["scores.json"]


def test_an_evaluation_can_be_repeated_to_the_same_scores(
    model: Path, emodb: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tables = []
    for _ in range(2):
        assert evaluate(model, f"emodb={emodb}", "--out", str(out)).exit_code == 0
        tables.append((out / "predictions.csv").read_bytes())
    assert tables[0] == tables[1]


def test_a_whole_corpus_is_scored_over_its_speakers(
    model: Path, corpus_root: Callable[[str], Path]
) -> None:
    done = evaluate(model, f"ravdess={corpus_root('ravdess')}")
    assert done.exit_code == 0, done.output
    assert "1056 utterances" in done.stdout
    assert "over 24 speakers" in done.stdout
    assert "calm (192), surprise (192)" in done.stderr


# ---- the card


@pytest.fixture
def two_corpora(model: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a table of clips by two speakers in each of two corpora."""

    def make(corpora: tuple[str, ...] = ("one", "two"), speakers: str = "ab") -> str:
        rows = [
            f"{corpus}-{speaker}-{label},{clip},{label},{speaker},{corpus}"
            for corpus in corpora
            for speaker in speakers
            for label, clip in CLIPS.items()
        ]
        folder = tmp_path / "-".join([*corpora, speakers])
        folder.mkdir()
        text = "\n".join(["utterance,file,label,speaker,corpus", *rows]) + "\n"
        (folder / "clips.csv").write_text(text, encoding="utf-8")
        return f"table={folder}"

    return make


def test_a_card_quotes_what_was_measured_on_each_other_corpus(
    model: Path, two_corpora: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(model, folder)
    before = read_card(folder)
    done = evaluate(folder, two_corpora(), "--on-card")
    assert done.exit_code == 0, done.output
    assert "now on the card of tiny" in done.stderr
    card = Recognizer.load(folder).card
    assert card.scores[: len(before.scores)] == before.scores
    assert [score.corpus for score in card.elsewhere] == ["one", "two"]
    for score in card.elsewhere:
        assert score.n_utterances == 6 and score.protocol == "other corpus"
        assert f"{100 * score.wa:.1f}" in re.search(r"^WA.*", done.stdout, re.M)[0]
        assert "nothing was adapted" in score.protocol_note
        assert score.labels == (), "it chose from all of its labels"
    listed = CliRunner().invoke(app, ["models", str(folder)])
    assert "on two" in listed.stdout

    evaluate(folder, two_corpora(("two", "three"), "abc"), "--on-card")
    again = {score.corpus: score.n_utterances for score in read_card(folder).elsewhere}
    assert again == {"one": 6, "two": 9, "three": 9}, "the newer takes the older's place"

    evaluate(folder, two_corpora(("one", "two"), "abc"), "--on-card", "--labels", "anger,sadness")
    chosen = {score.corpus: score.labels for score in read_card(folder).elsewhere}
    assert chosen["one"] == ("anger", "sadness") and chosen["three"] == ()


def test_a_card_quotes_no_training_score_none_of_one_speaker_and_none_of_a_part(
    model: Path, emodb: Path, two_corpora: Callable[..., str], tmp_path: Path
) -> None:
    before = (model / "card.json").read_bytes()
    heard = evaluate(model, f"emodb={emodb}", "--on-card")
    assert isinstance(heard.exception, BadResults) and "training score" in str(heard.exception)
    alone = evaluate(model, two_corpora(speakers="a"), "--on-card")
    assert isinstance(alone.exception, BadResults) and "one has one speaker" in str(alone.exception)
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(16_000), 16_000)
    given = two_corpora()
    with (Path(given.partition("=")[2]) / "clips.csv").open("a", encoding="utf-8") as table:
        table.write(f"silence,{silence},anger,b,two\n")
    part = evaluate(model, given, "--on-card")
    assert part.exit_code == 2 and "quotes whole corpora" in part.stderr
    for bundled in ("default", "emodb-light_sernet"):
        shared = evaluate(bundled, given, "--on-card")
        assert isinstance(shared.exception, LightserError)
        assert "comes with lightser" in str(shared.exception)
    assert (model / "card.json").read_bytes() == before


# What was heard, by its sound


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Return a model folder that has heard the clips of anger and sadness, not of happiness."""
    folder = write_model(tmp_path / "known")
    heard = digests(pd.DataFrame({"file": [ANGER, SADNESS], "start": np.nan, "end": np.nan}))
    write_heard(folder, [one for one in heard if one])
    card = read_card(folder)
    write_card(folder, replace(card, files=card.files | {HEARD: file_facts(folder / HEARD)}))
    return folder


def as_others_have_it(tmp_path: Path, *names: str) -> str:
    """Write clips anew, in other ways, and a table of them."""
    lines = ["file,speaker,emotion"]
    for label in names:
        samples, rate = soundfile.read(CLIPS[label], dtype="float32")
        padded = np.pad(samples / 2, (800, 400))
        both = np.stack([padded, padded], axis=1)
        soundfile.write(tmp_path / f"{label}.wav", both, rate, subtype="PCM_24")
        lines.append(f"{label}.wav,{label[0]},{label}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return f"table={tmp_path / 'list.csv'}"


def test_clips_that_were_heard_are_left_out_whatever_they_are_called(
    known: Path, tmp_path: Path
) -> None:
    corpus = as_others_have_it(tmp_path, "anger", "happiness", "sadness")
    done = evaluate(known, corpus, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "left out, as known was trained on them: 2 of 3 clips" in done.stderr
    facts = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert facts["n_utterances"] == 1 and not facts["speaker_independent"]
    assert "2 clips that it was trained on were left out" in facts["protocol_note"]
    before = (known / "card.json").read_bytes()
    card = evaluate(known, corpus, "--on-card")
    assert isinstance(card.exception, BadResults) and "2 of the clips" in str(card.exception)
    assert (known / "card.json").read_bytes() == before


def test_where_all_were_heard_there_is_no_score(known: Path, tmp_path: Path) -> None:
    done = evaluate(known, as_others_have_it(tmp_path, "anger", "sadness"), "--out", "nowhere")
    assert isinstance(done.exception, BadCorpus)
    assert "trained on all 2 of these clips of table, by their sound" in str(done.exception)
    assert not Path("nowhere").exists()


def test_a_model_that_does_not_say_what_it_heard_is_said(model: Path, tmp_path: Path) -> None:
    done = evaluate(model, as_others_have_it(tmp_path, "anger", "sadness"))
    assert done.exit_code == 0 and "tiny keeps no heard.bin" in done.stderr


def test_the_bundled_models_know_the_clips_of_emodb_under_another_name(tmp_path: Path) -> None:
    corpus = as_others_have_it(tmp_path, "anger", "happiness", "sadness")
    for name in bundled_models():
        done = CliRunner().invoke(app, ["evaluate", name, "--corpus", corpus])
        assert isinstance(done.exception, BadCorpus)
        assert "trained on all 3 of these clips" in str(done.exception)


def test_a_file_of_digests_that_is_none_is_refused(known: Path) -> None:
    (known / HEARD).write_bytes(b"12345")
    with pytest.raises(BadModel, match="holds no digests of 8 bytes"):
        read_heard(known, read_card(known))


def test_rows_without_a_label_are_answered_apart_if_they_are_kept(
    model: Path, tmp_path: Path
) -> None:
    text = f"file,speaker,emotion\n{ANGER},a,anger\n{SADNESS},b,\n{HAPPINESS},c,happiness\n"
    (tmp_path / "list.csv").write_text(text)
    corpus = f"table={tmp_path / 'list.csv'}"
    left = evaluate(model, corpus)
    assert left.exit_code == 0 and "1 row without a label is left out" in left.stderr
    out = tmp_path / "out"
    kept = evaluate(model, corpus, "--unlabelled", "keep", "--out", str(out))
    assert kept.exit_code == 0, kept.output
    assert len(pd.read_csv(out / "predictions.csv")) == 2
    (row,) = pd.read_csv(out / "unlabelled.csv").to_dict("records")
    assert row["utterance"] == SADNESS.stem
    assert row["predicted"] == Recognizer.load(model).predict(SADNESS).label
    nowhere = evaluate(model, corpus, "--unlabelled", "keep")
    assert isinstance(nowhere.exception, LightserError) and "give --out" in str(nowhere.exception)

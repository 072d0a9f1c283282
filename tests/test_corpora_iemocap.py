import json
import math
import re
import warnings
from collections import Counter

import iemocap_tree
import numpy as np
import pandas as pd
import pytest

from lightser.audio.files import read_audio
from lightser.cli import main
from lightser.corpora import load_corpus
from lightser.corpora.iemocap import (
    COUNTS,
    agreement_of,
    count_difference,
    label_of,
    problems,
    read_evaluation,
    read_turns,
    votes_of,
)
from lightser.corpora.splits import make_folds
from lightser.corpora.utterances import agreement_level
from lightser.errors import BadCorpus, LightserError, LightserWarning

NOUNS = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "excitement",
    "fea": "fear",
    "fru": "frustration",
    "hap": "happiness",
    "neu": "neutral",
    "oth": "other",
    "sad": "sadness",
    "sur": "surprise",
}


def load(root, **options):
    """Load, and return the table and the lines of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = load_corpus("iemocap", root, **options)
    return table, [str(w.message) for w in caught if issubclass(w.category, LightserWarning)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus") / "IEMOCAP_full_release"
    written = iemocap_tree.write_tree(root, rng=np.random.default_rng(0))
    return root, {turn.name: turn for turn in written}


@pytest.fixture
def small_tree(tmp_path):
    """One session, which a test may break."""
    root = tmp_path / "IEMOCAP_full_release"
    iemocap_tree.write_tree(root, rng=np.random.default_rng(1), sessions=1, turns=6, audio=False)
    return root


# --- reading ---


def test_the_table_holds_what_was_written(tree):
    root, written = tree
    table, _ = load(root)
    expected = {
        name: "happiness" if turn.consensus == "exc" else NOUNS[turn.consensus]
        for name, turn in written.items()
        if turn.consensus in ("ang", "hap", "exc", "neu", "sad")
    }
    assert dict(zip(table["utterance"], table["label"], strict=True)) == expected
    for row in table.itertuples():
        turn = written[row.utterance]
        named = [NOUNS[name[:3].lower()] for names in turn.votes.values() for name in names]
        assert json.loads(row.votes) == dict(Counter(named))
        assert row.agreement == named.count(NOUNS[turn.consensus]) / len(named)
        assert (row.valence, row.activation, row.dominance) == turn.attributes
        assert row.text == turn.words
        assert row.file.endswith(
            f"Session{row.utterance[4]}/sentences/wav/{row.utterance[:-5]}/{row.utterance}.wav"
        )


def test_the_speaker_is_who_speaks_and_not_whose_recording_it_is(tree):
    table, _ = load(tree[0])
    assert sorted(set(table["speaker"])) == [f"Ses0{i}_{a}" for i in range(1, 6) for a in "FM"]
    for row in table.itertuples():
        actor = row.utterance.split("_")[-1][0]
        assert row.speaker == f"{row.utterance[:5]}_{actor}"
        assert row.gender == {"F": "female", "M": "male"}[actor]
        assert row.session == f"Session{row.utterance[4]}"
    # Either actor speaks in the recordings of either side.
    sides = set(zip(table["utterance"].str[5], table["speaker"].str[-1], strict=True))
    assert sides == {("F", "F"), ("F", "M"), ("M", "F"), ("M", "M")}


def test_the_clips_can_be_heard(tree):
    table, _ = load(tree[0])
    samples = read_audio(table["file"].iloc[0])
    assert 0.4 * 16_000 <= len(samples) <= 0.8 * 16_000
    assert np.abs(samples).max() > 0.05


def test_the_folder_above_the_release_does_as_well(tree):
    pd.testing.assert_frame_equal(load(tree[0].parent)[0], load(tree[0])[0])


def test_without_transcriptions_the_text_is_unknown(small_tree):
    for path in small_tree.glob("Session1/dialog/transcriptions/*"):
        path.unlink()
    assert set(load(small_tree)[0]["text"]) == {""}


# --- votes and agreement ---

# The turn of Table 1 of Zhong et al. 2020.
TABLE_1 = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[150.1000 - 152.3000]\tSes01F_impro03_F025\thap\t[4.5000, 3.5000, 3.0000]
C-E1:\tHappiness;\t()
C-E2:\tHappiness;\t()
C-E4:\tHappiness; Excited;\t()
C-F1:\tHappiness; Excited;\t()
A-E3:\tval 4; act 3; dom  3;\t()
A-E4:\tval 5; act 4; dom  3;\t(glad; (almost) giddy)
A-F1:\tval 5; act 4; dom  3;\t()

"""


@pytest.fixture
def table_1(tmp_path):
    path = tmp_path / "Ses01F_impro03.txt"
    path.write_text(TABLE_1)
    turns, found = read_evaluation(path, path.name)
    assert not found
    (turn,) = turns
    return turn


def test_the_example_of_zhong_has_four_of_six_votes(table_1):
    assert votes_of(table_1, self_reports=True) == {"happiness": 4, "excitement": 2}
    agreement = agreement_of(table_1, self_reports=True)
    assert agreement == 4 / 6
    assert agreement_level([agreement]).tolist() == ["B"]


def test_without_self_reports_it_has_three_of_four(table_1):
    assert votes_of(table_1, self_reports=False) == {"happiness": 3, "excitement": 1}
    assert agreement_of(table_1, self_reports=False) == 3 / 4


def test_attributes_are_those_of_the_turn_line(table_1):
    assert table_1.attributes == (4.5, 3.5, 3.0)
    assert table_1.raters == ["E3", "E4", "F1"]


def test_an_excited_turn_merged_into_happiness_counts_its_votes_for_excitement(tmp_path):
    path = tmp_path / "Ses01F_impro03.txt"
    path.write_text(TABLE_1.replace("\thap\t", "\texc\t"))
    ((turn,), _) = read_evaluation(path, path.name)
    assert label_of(turn, "merge") == "happiness"
    assert agreement_of(turn, self_reports=True) == 2 / 6


def test_self_reports_can_be_left_out_of_the_table(tree):
    root, written = tree
    with_them, _ = load(root)
    without, _ = load(root, self_reports=False)
    pd.testing.assert_frame_equal(
        with_them.drop(columns=["votes", "agreement"]), without.drop(columns=["votes", "agreement"])
    )
    for row in without.itertuples():
        outside = {w: names for w, names in written[row.utterance].votes.items() if "E" in w}
        assert len(outside) == 3
        assert sum(json.loads(row.votes).values()) == sum(map(len, outside.values()))


# --- options ---


def test_excited_is_merged_dropped_or_kept_and_never_stands_in_for_happiness(tree):
    root, written = tree
    n = Counter(turn.consensus for turn in written.values())
    merged, dropped, kept = (
        Counter(load(root, excited=how, **options)[0]["label"])
        for how, options in [
            ("merge", {}),
            ("drop", {}),
            ("keep", {"labels": ["anger", "happiness", "neutral", "sadness", "excitement"]}),
        ]
    )
    assert merged["happiness"] == n["hap"] + n["exc"]
    assert dropped["happiness"] == kept["happiness"] == n["hap"] > 0
    assert kept["excitement"] == n["exc"] > 0
    assert merged["anger"] == dropped["anger"] == kept["anger"] == n["ang"]


@pytest.mark.parametrize("styles", ["improvised", "scripted"])
def test_styles_can_be_told_apart(tree, styles):
    table, _ = load(tree[0], styles=styles)
    both, _ = load(tree[0])
    assert set(table["style"]) == {styles}
    part = {"improvised": "_impro", "scripted": "_script"}[styles]
    assert list(table["utterance"]) == [name for name in both["utterance"] if part in name]


def test_other_labels_can_be_chosen(tree):
    root, written = tree
    table, _ = load(root, labels=["frustration", "anger"])
    assert Counter(table["label"]) == {
        "frustration": sum(turn.consensus == "fru" for turn in written.values()),
        "anger": sum(turn.consensus == "ang" for turn in written.values()),
    }


@pytest.mark.parametrize(
    "options, words",
    [
        ({"labels": ["angry"]}, "did you mean 'anger'"),
        ({"excited": "replace"}, "Unknown way to treat excited 'replace'"),
        ({"styles": "improvized"}, "did you mean 'improvised'"),
        ({"excited": "keep"}, "'keep' goes with the label 'excitement'"),
        ({"labels": ["anger", "excitement"]}, "'keep' goes with the label 'excitement'"),
        ({"labels": ["disgust"]}, "holds no turns labelled disgust"),
    ],
)
def test_options_that_make_no_sense_are_refused(small_tree, options, words):
    with pytest.raises(LightserError, match=words):
        load(small_tree, **options)


# --- counts ---


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    iemocap_tree.write_release_counts(root, rng=np.random.default_rng(0))
    return root


def test_a_tree_with_the_counts_of_the_release_is_counted_and_has_no_problems(release):
    turns, found = read_turns(release)
    assert len(turns) == 10_039
    assert found == problems(release) == []
    assert count_difference(turns) == ""

    table, lines = load(release)
    assert lines == []
    counts = {"anger": 1103, "happiness": 1636, "neutral": 1708, "sadness": 1084}
    assert Counter(table["label"]) == counts
    assert len(table) == 5531
    assert table["speaker"].nunique() == 10


def test_improvised_without_excited_has_the_counts_of_light_sernet(release):
    table, _ = load(release, styles="improvised", excited="drop")
    counts = {"anger": 289, "happiness": 284, "neutral": 1099, "sadness": 608}
    assert Counter(table["label"]) == counts
    assert len(table) == 2280
    assert sum(len(fold.test) for fold in make_folds("light_sernet", table)) == 4560


def test_our_counts_add_up_to_the_published_ones():
    total = Counter()
    for counts in COUNTS.values():
        total.update(counts)
    assert total == {
        "anger": 1103,
        "happiness": 595,
        "excitement": 1041,
        "neutral": 1708,
        "sadness": 1084,
    }


def test_other_counts_are_told_in_one_line(release, small_tree):
    turns, _ = read_turns(release)
    turns.remove(next(turn for turn in turns if turn.consensus == "sad" and "impro" in turn.name))
    assert count_difference(turns) == (
        "not the complete release: improvised sadness 607 instead of 608"
    )
    _, lines = load(small_tree)
    (line,) = lines
    assert "not the complete release: improvised anger" in line
    assert "\n" not in line


# --- broken copies ---


def evaluation_lines(root):
    """Yield evaluation files, line numbers and lines that are neither empty nor the header."""
    for path in sorted(root.glob("Session1/dialog/EmoEvaluation/Ses*.txt")):
        for number, line in enumerate(path.read_text().split("\n")):
            if line and not line.startswith("%"):
                yield path, number, line


def rewritten(path, number, line):
    """Replace a line of a file, or take it out; return the old text."""
    old = path.read_text()
    lines = old.split("\n")
    lines[number : number + 1] = [] if line is None else [line]
    path.write_text("\n".join(lines))
    return old


def reports(root, **options):
    """Return the table, or None where it is refused, and all that was said."""
    try:
        return load(root, **options)
    except BadCorpus as error:
        return None, [str(error)]


def test_corpus_check_names_every_line_that_is_missing(tmp_path, capsys, monkeypatch):
    root = tmp_path / "IEMOCAP_full_release"
    iemocap_tree.write_tree(root, rng=np.random.default_rng(1), sessions=1, turns=6)
    lines = list(evaluation_lines(root))
    vote = next(item for item in lines if item[2].startswith("C-E"))
    turn = next(item for item in lines if item[2].startswith("[") and item[0] != vote[0])
    for path, number, _ in (vote, turn):
        rewritten(path, number, None)

    monkeypatch.setattr("sys.argv", ["lightser", "corpus", "check", "iemocap", str(root)])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    found = [str(problem) for problem in problems(root)]
    assert all(f"\n  {line}\n" in told.out for line in found)
    for path, _, _ in (vote, turn):
        assert any(re.search(rf"{path.name}, line \d+", line) for line in found)
    assert f"annotations: {len(found)}\n" in told.out
    lost = sum(problem.loses for problem in problems(root))
    assert lost >= 1 and f"{lost} lost by the annotations" in told.err
    assert end.value.code == 2 and told.err.count("\n") == 1


def test_any_line_that_is_missing_is_reported_with_its_file(small_tree):
    whole, usual = reports(small_tree)
    assert whole is not None
    for path, number, line in list(evaluation_lines(small_tree)):
        old = rewritten(path, number, None)
        table, lines = reports(small_tree)
        told = [text for text in lines if path.name in text]
        assert len(told) == 1, line
        assert re.search(r"\.txt, line \d+", told[0])
        if line.startswith("["):  # a turn is lost, which is an error
            assert table is None
        path.write_text(old)
    assert reports(small_tree)[1] == usual


def test_any_line_that_is_cut_off_is_reported_or_does_no_harm(small_tree):
    whole, usual = reports(small_tree)
    lines_of_one_file = [item for item in evaluation_lines(small_tree) if "F_impro" in item[0].name]
    for path, number, line in lines_of_one_file:
        for length in range(1, len(line), 5):
            old = rewritten(path, number, line[:length])
            table, lines = reports(small_tree)
            if lines == usual:
                pd.testing.assert_frame_equal(table, whole)
            else:
                assert any(path.name in text for text in lines)
            path.write_text(old)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("\tneu\t", "\tnue\t", "'nue' is no emotion"),
        ("\tSes01F_impro01_F000\t", "\tSes01F_impro02_F000\t", "is no turn of the dialogue"),
        ("Ses01F_impro01_M001", "Ses01F_impro01_M000", "is there twice, see"),
        ("[6.2901 - ", "6.2901 - ", "evaluators without a turn line above them"),
    ],
)
def test_a_malformed_turn_is_an_error_that_names_file_and_line(tmp_path, old, new, words):
    root = tmp_path / "IEMOCAP_full_release"
    codes = ["neu", "ang", "hap", "sad"]
    rng = np.random.default_rng(0)
    iemocap_tree.write_dialogue(root, "Ses01F_impro01", codes, rng=rng, audio=False)
    path = root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))

    with pytest.raises(BadCorpus, match=words) as raised:
        load(root)
    assert re.search(
        r"Session1/dialog/EmoEvaluation/Ses01F_impro01\.txt, line \d+", str(raised.value)
    )
    assert "\n" not in str(raised.value)
    # Asked to, it goes on without the turn, and says so.
    table, lines = load(root, strict=False)
    assert len(table) == 3
    assert any("turns were left out" in line and words in line for line in lines)
    assert any(problem.loses and words in str(problem) for problem in problems(root))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("C-E", "C-X", "cannot make sense of 'C-X"),
        ("Anger;", "Angst; Wut;", "'Wut' is no category"),
        ("A-E3:\tval", "A-E3:\twal", "cannot make sense of 'A-E3"),
        ("A-E4:\t", "A-E4\t", "cannot make sense of 'A-E4"),
        ("A-E3", "B-E3", "cannot make sense of 'B-E3"),
    ],
)
def test_a_malformed_evaluator_is_a_warning_that_names_file_and_line(small_tree, old, new, words):
    path = small_tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01M_impro01.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    whole_length = 24 - sum(t.consensus in ("xxx", "fru") for t in read_turns(small_tree)[0])
    table, lines = load(small_tree)
    assert len(table) == whole_length
    (line,) = [line for line in lines if "votes may be incomplete" in line]
    assert "Ses01M_impro01.txt, line" in line
    assert any(words in str(problem) for problem in problems(small_tree))


def test_a_vote_without_category_is_told(small_tree):
    path, number, line = next(
        item for item in evaluation_lines(small_tree) if item[2].startswith("C-E")
    )
    rewritten(path, number, f"{line[:4]}:\t;\t()")
    assert any("without a vote" in str(problem) for problem in problems(small_tree))


def test_attributes_that_are_no_numbers_are_unknown_and_told(small_tree):
    path, number, line = next(
        item
        for item in evaluation_lines(small_tree)
        if item[2].startswith("[") and "\txxx\t" not in item[2] and "\tfru\t" not in item[2]
    )
    rewritten(path, number, line[: line.rindex("[")] + "[2.5000, , 2.5000]")
    table, lines = load(small_tree)
    row = table[table["utterance"] == line.split("\t")[1]].iloc[0]
    assert math.isnan(row["activation"])
    assert any("expected valence, activation and dominance" in text for text in lines)


def test_a_missing_clip_is_an_error_and_its_turn_is_named(small_tree):
    clip = small_tree / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav"
    clip.unlink()
    with pytest.raises(BadCorpus, match="Ses01F_impro01_M001 has no audio"):
        load(small_tree)
    table, lines = load(small_tree, strict=False)
    assert clip.stem not in set(table["utterance"])
    assert any("has no audio" in line for line in lines)


def test_clips_that_nobody_judged_are_an_error(small_tree):
    (small_tree / "Session1/dialog/EmoEvaluation/Ses01M_script01_1.txt").unlink()
    with pytest.raises(BadCorpus, match=r"in no evaluation file \(and 5 more\)") as raised:
        load(small_tree)
    assert "Session1/sentences/wav/Ses01M_script01_1/" in str(raised.value)


def test_a_session_without_evaluations_is_an_error(small_tree):
    (small_tree / "Session2").mkdir()
    with pytest.raises(BadCorpus, match="Session2/dialog/EmoEvaluation: no evaluation files"):
        load(small_tree)


def test_an_empty_evaluation_file_is_an_error(small_tree):
    (small_tree / "Session1/dialog/EmoEvaluation/Ses01M_script01_1.txt").write_text("")
    with pytest.raises(BadCorpus, match=r"Ses01M_script01_1\.txt: no turns"):
        load(small_tree)


def test_what_loses_a_turn_is_listed_first(small_tree):
    lines = list(evaluation_lines(small_tree))
    path, number, _ = next(item for item in lines if item[2].startswith("C-E"))
    rewritten(path, number, None)
    path, number, _ = next(item for item in reversed(lines) if item[2].startswith("["))
    rewritten(path, number, None)
    listed = [problem.loses for problem in problems(small_tree)]
    assert listed == sorted(listed, reverse=True)
    assert set(listed) == {True, False}


def test_a_folder_that_is_not_iemocap_is_refused(tmp_path):
    with pytest.raises(BadCorpus, match="is not IEMOCAP: no folders Session1 to Session5"):
        load(tmp_path)


# --- protocols ---


@pytest.mark.parametrize("name, n_folds", [("loso", 10), ("loso_session", 5)])
def test_no_actor_is_on_both_sides_though_both_speak_in_each_dialogue(tree, name, n_folds):
    table, _ = load(tree[0])
    speaker = dict(zip(table["utterance"], table["speaker"], strict=True))
    folds = make_folds(name, table)
    assert len(folds) == n_folds
    for fold in folds:
        assert not {speaker[u] for u in fold.train + fold.valid} & {speaker[u] for u in fold.test}

import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lightser.corpora import load_corpus
from lightser.corpora.splits import (
    PROTOCOLS,
    Fold,
    check_folds,
    make_folds,
    read_folds,
    speakers_on_both_sides,
    write_folds,
)
from lightser.errors import BadCorpus, BadRecipe, BadResults, LightserWarning, UnknownName

LABELS = ("anger", "neutral", "sadness")
FROM_FILE = ("csv", "emobox")
GENERATED = sorted(set(PROTOCOLS) - set(FROM_FILE))
DRAWN = [name for name in GENERATED if name != "loco"]
BY_SPEAKER = [name for name in GENERATED if PROTOCOLS[name].speaker_independent]
TESTS_ALL_ONCE = [
    ("loso", {}),
    ("loso", {"valid_speakers": 0}),
    ("loso", {"valid_speakers": 2}),
    ("loso_session", {}),
    ("loco", {}),
    ("speaker_kfold", {"k": 3}),
    ("speaker_kfold", {"k": 4, "valid": False}),
    ("text_speaker", {}),
    ("text_speaker", {"text_groups": 2, "valid_speakers": 2}),
    ("random_kfold", {}),
    ("zhong2020", {"rotate_test": True}),
]


def make_table(
    *, speakers=6, texts=4, takes=2, labels=LABELS, drop=0.0, rng=None, sessions=3
) -> pd.DataFrame:
    """Return a corpus in which each speaker says each text with each emotion some times."""
    rng = rng or np.random.default_rng(0)
    rows = [
        {
            "utterance": f"s{speaker}t{text}{label}{take}",
            "file": f"/corpus/s{speaker}/s{speaker}t{text}{label}{take}.wav",
            "speaker": f"s{speaker}",
            "label": label,
            "text": f"t{text}",
            "gender": ("female", "male")[speaker % 2],
            "session": f"session{speaker % sessions}",
            "style": "acted",
            "corpus": f"corpus{speaker % 2}",
        }
        for speaker in range(speakers)
        for text in range(texts)
        for label in labels
        for take in range(takes)
    ]
    kept = rng.random(len(rows)) >= drop
    table = pd.DataFrame([row for row, keep in zip(rows, kept, strict=True) if keep])
    return table.sample(frac=1, random_state=int(rng.integers(2**31))).reset_index(drop=True)


@st.composite
def tables(draw) -> pd.DataFrame:
    """Corpora with holes: no two speakers say the same, and some say little."""
    table = make_table(
        speakers=draw(st.integers(4, 9)),
        texts=draw(st.integers(2, 7)),
        takes=draw(st.integers(1, 3)),
        sessions=draw(st.integers(2, 4)),
        drop=draw(st.floats(0, 0.4)),
        rng=np.random.default_rng(draw(st.integers(0, 2**31))),
    )
    # Enough of each class on every side is a promise of the corpus, not of the protocol.
    assume(all(table.groupby(["label", "speaker"]).size() > 1))
    assume(len(table.groupby(["label", "speaker"])) == 3 * table["speaker"].nunique())
    return table


def folds_or_assume(name, table, seed=0, **options):
    """Make folds; a table too small for them is no example."""
    try:
        return make_folds(name, table, seed, **options)
    except (BadCorpus, BadRecipe) as error:
        assume(not any(words in str(error) for words in ("to train on", "at least", "has 1")))
        raise


PROPERTIES = settings(max_examples=20, deadline=None)


# --- promises over the registry ---


@pytest.mark.parametrize("name", GENERATED)
@PROPERTIES
@given(table=tables(), seed=st.integers(0, 5))
def test_every_protocol_keeps_its_promises_on_any_corpus(name, table, seed):
    protocol = PROTOCOLS[name]
    speaker = dict(zip(table["utterance"], table["speaker"], strict=True))
    text = dict(zip(table["utterance"], table["text"], strict=True))
    label = dict(zip(table["utterance"], table["label"], strict=True))
    for fold in folds_or_assume(name, table, seed):
        sides = [set(fold.train), set(fold.valid), set(fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides))  # no utterance twice
        assert set.union(*sides) <= set(table["utterance"])
        assert {label[u] for u in fold.train} == set(LABELS)
        assert fold.test
        if protocol.speaker_independent:
            voices = [{speaker[u] for u in side} for side in sides]
            assert sum(map(len, voices)) == len(set.union(*voices))
        if protocol.text_independent:
            assert not {text[u] for u in fold.train} & {text[u] for u in fold.test}
        if protocol.select == "valid_ua":
            assert fold.valid


@pytest.mark.parametrize("name, options", TESTS_ALL_ONCE)
@PROPERTIES
@given(table=tables(), seed=st.integers(0, 5))
def test_every_utterance_is_tested_exactly_once(name, options, table, seed):
    folds = folds_or_assume(name, table, seed, **options)
    tested = Counter(utterance for fold in folds for utterance in fold.test)
    assert tested == Counter(table["utterance"])


@pytest.mark.parametrize("name", GENERATED)
def test_folds_do_not_depend_on_the_order_of_rows(name):
    table = make_table(drop=0.1)
    shuffled = table.sample(frac=1, random_state=1)
    assert make_folds(name, table, 3) == make_folds(name, shuffled, 3)


@pytest.mark.parametrize("name", DRAWN)
def test_another_seed_gives_other_folds(name):
    table = make_table(drop=0.1)
    assert make_folds(name, table, 0) == make_folds(name, table, 0)
    assert make_folds(name, table, 0) != make_folds(name, table, 1)


@pytest.mark.parametrize("name", GENERATED)
def test_fold_names_can_be_file_names(name):
    table = make_table()
    table["speaker"] = table["speaker"] + " / ä:*"
    table["session"] = table["session"] + "\\"
    table["corpus"] = table["corpus"] + "?"
    for fold in make_folds(name, table):
        assert all(sign.isalnum() or sign in "%_.-" for sign in fold.name)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_note_says_it_where_a_score_is_not_about_new_speakers(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.note.endswith(".")
    assert ("speakers occur on both sides" in protocol.note or "may occur" in protocol.note) == (
        not protocol.speaker_independent
    )
    assert ("selected on test" in protocol.note) == (protocol.select == "test_wa")


# --- each protocol ---


def test_loso_validates_each_speaker_once():
    table = make_table(speakers=5)
    folds = make_folds("loso", table, seed=2)
    speaker = dict(zip(table["utterance"], table["speaker"], strict=True))
    validating = [{speaker[u] for u in fold.valid} for fold in folds]
    assert sorted(map(tuple, validating)) == [(f"s{i}",) for i in range(5)]
    assert [fold.name for fold in folds] == [f"s{i}" for i in range(5)]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_loso_validates_as_many_speakers_as_asked(n):
    table = make_table(speakers=5)
    speaker = dict(zip(table["utterance"], table["speaker"], strict=True))
    for fold in make_folds("loso", table, valid_speakers=n):
        assert len({speaker[u] for u in fold.valid}) == n
        assert len({speaker[u] for u in fold.train}) == 4 - n


def test_loso_session_validates_on_a_speaker_of_another_session():
    table = make_table(speakers=6, sessions=3)
    of = table.set_index("utterance")
    for fold in make_folds("loso_session", table):
        assert set(of.loc[list(fold.test), "session"]) == {fold.name}
        assert len(set(of.loc[list(fold.valid), "speaker"])) == 1
        assert fold.name not in set(of.loc[list(fold.valid), "session"])


def test_loco_tests_each_corpus_on_a_model_of_the_others():
    table = make_table(speakers=6)
    of = table.set_index("utterance")["corpus"]
    first, second = folds = make_folds("loco", table)
    assert [fold.name for fold in folds] == ["corpus0", "corpus1"]
    assert set(of[list(first.test)]) == set(of[list(second.train)]) == {"corpus0"}
    assert not first.valid and not second.valid
    with pytest.raises(BadCorpus, match="at least 2 corpora; the table has 'emodb'"):
        make_folds("loco", table.assign(corpus="emodb"))


def test_speaker_kfold_balances_size_class_and_gender():
    # Twelve speakers of very different size; half of them show no anger.
    rows = []
    for i, size in enumerate([60, 50, 40, 30, 30, 20, 20, 20, 10, 10, 5, 5]):
        labels = ("neutral", "sadness") if i % 2 else LABELS
        for take in range(size):
            rows.append(
                {
                    "utterance": f"{i:02}_{take}",
                    "speaker": f"{i:02}",
                    "label": labels[take % len(labels)],
                    "gender": ("female", "male")[i // 2 % 2],
                }
            )
    table = pd.DataFrame(rows)
    of = table.set_index("utterance")
    folds = make_folds("speaker_kfold", table, k=4)
    assert max(len(f.test) for f in folds) <= 1.3 * min(len(f.test) for f in folds)
    for fold in folds:
        counts = of.loc[list(fold.test), "label"].value_counts()
        assert counts["anger"] >= 0.5 * (table["label"] == "anger").sum() / 4
        assert of.loc[list(fold.test), "gender"].nunique() == 2


def test_text_speaker_chooses_the_epoch_on_whom_loso_would_and_on_all_that_they_say():
    table = make_table(speakers=6, texts=4)
    validates = {fold.name: fold.valid for fold in make_folds("loso", table)}
    for fold in make_folds("text_speaker", table, text_groups=4):
        assert set(fold.valid) == set(validates[fold.name.partition("-")[0]])


def test_text_speaker_leaves_most_of_the_corpus_for_training():
    # 6 speakers, 4 sentences: without test speaker, validation speaker and one sentence.
    table = make_table(speakers=6, texts=4)
    folds = make_folds("text_speaker", table, text_groups=4)
    assert len(folds) == 6 * 4
    assert {len(fold.train) / len(table) for fold in folds} == {4 / 6 * 3 / 4}
    assert {len(fold.test) / len(table) for fold in folds} == {1 / 24}


def test_zhong2020_tests_one_subset_nine_times():
    table = make_table(speakers=10, takes=5)
    folds = make_folds("zhong2020", table)
    assert len(folds) == 9
    assert len({fold.test for fold in folds}) == 1
    parts = [set(fold.valid) for fold in folds]
    assert len(set.union(*parts)) == sum(map(len, parts)) == len(table) - len(folds[0].test)


def test_zhong2020_deals_each_stratum_evenly():
    table = make_table(speakers=8, takes=7, drop=0.2)
    strata = ["session", "style", "gender", "label"]
    of = table.set_index("utterance")
    per_subset = [
        of.loc[list(fold.test)].groupby(strata).size()
        for fold in make_folds("zhong2020", table, rotate_test=True)
    ]
    counts = pd.concat(per_subset, axis=1).fillna(0)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    sizes = counts.sum()
    assert sizes.max() - sizes.min() <= 1


def test_zhong2020_pairs_test_half_of_the_corpus():
    table = make_table(speakers=10, takes=5)
    folds = make_folds("zhong2020_pairs", table)
    assert [fold.name for fold in folds] == [f"test{t}-valid{t - 1}" for t in (9, 7, 5, 3, 1)]
    tested = [set(fold.test) for fold in folds]
    assert len(set.union(*tested)) == sum(map(len, tested)) == len(table) / 2


@pytest.mark.parametrize("n, total", [(535, 1070), (2280, 4560), (5531, 11_070)])
def test_light_sernet_tests_as_many_as_the_published_matrices_hold(n, total):
    table = pd.DataFrame(
        {
            "utterance": [f"u{i}" for i in range(n)],
            "speaker": "one",
            "label": [LABELS[i % 3] for i in range(n)],
        }
    )
    folds = make_folds("light_sernet", table)
    assert len(folds) == 10
    assert sum(len(fold.test) for fold in folds) == total
    assert all(len(fold.train) + len(fold.test) == n and not fold.valid for fold in folds)


def test_random_holdout_tests_what_light_sernet_tests():
    table = make_table()
    published = make_folds("light_sernet", table, seed=4)
    honest = make_folds("random_holdout", table, seed=4)
    for ours, theirs in zip(honest, published, strict=True):
        assert ours.test == theirs.test
        assert set(ours.train) | set(ours.valid) == set(theirs.train)
        assert len(ours.valid) == math.ceil(0.1 * len(theirs.train))


def test_more_holdouts_leave_the_first_ones_as_they_were():
    table = make_table()
    assert make_folds("light_sernet", table, holdouts=3) == make_folds("light_sernet", table)[:3]


# --- equal content ---


@pytest.mark.parametrize("name", ["random_kfold", "random_holdout"])
@PROPERTIES
@given(table=tables(), seed=st.integers(0, 5))
def test_random_folds_keep_equal_content_on_one_side(name, table, seed):
    # Every utterance has a twin or a triplet, of the same label.
    table = table.sort_values("label", ignore_index=True)
    content = [f"{label}{i // 3}" for i, label in enumerate(table["label"])]
    of = dict(zip(table["utterance"], content, strict=True))
    for fold in folds_or_assume(name, table, seed, content=content):
        sides = [{of[u] for u in side} for side in (fold.train, fold.valid, fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides))


def test_the_same_audio_under_two_speakers_is_refused():
    table = make_table()
    content = table["utterance"].to_numpy().copy()
    first = table.index[table["speaker"] == "s0"][0]
    second = table.index[table["speaker"] == "s3"][0]
    content[first] = content[second]
    with pytest.raises(BadCorpus, match="same content") as raised:
        make_folds("loso", table, content=content)
    assert table["utterance"][first] in str(raised.value)
    assert table["utterance"][second] in str(raised.value)
    with pytest.raises(BadCorpus, match="same content"):
        make_folds("loso", table.assign(content=content))


def test_published_protocols_split_equal_content_as_they_did():
    table = make_table()
    content = ["all the same"] * len(table)
    assert make_folds("light_sernet", table, content=content) == make_folds("light_sernet", table)


# --- checks ---


def fold_of(table, *, test, train=None):
    return Fold("one", tuple(train or set(table["utterance"]) - set(test)), (), tuple(test))


def test_checks_find_what_a_protocol_got_wrong():
    table = make_table()
    names = table["utterance"].tolist()
    loso = PROTOCOLS["loso"]
    s0 = table["utterance"][table["speaker"] == "s0"].tolist()
    check_folds([fold_of(table, test=s0)], table, loso)
    without_anger = table["utterance"][
        (table["label"] != "anger") & (table["speaker"] != "s0")
    ].tolist()
    for folds, words in [
        ([], "makes no folds"),
        ([fold_of(table, test=s0)] * 2, "Two folds are named 'one'"),
        ([fold_of(table, test=s0[:3])], "same speaker in train"),
        ([fold_of(table, test=s0, train=names)], "twice"),
        ([fold_of(table, test=[*s0, "x"])], "names 'x', which is not in the table"),
        ([fold_of(table, test=s0, train=without_anger)], "no 'anger' to train on"),
        ([Fold("one", (), (), tuple(s0))], "no utterances to train on"),
        ([Fold("one", tuple(s0), (), ())], "no utterances to test on"),
    ]:
        with pytest.raises(BadCorpus, match=words):
            check_folds(folds, table, loso)


def test_text_on_both_sides_is_found():
    table = make_table()
    s0 = table["utterance"][table["speaker"] == "s0"].tolist()
    with pytest.raises(BadCorpus, match="same text in train"):
        check_folds([fold_of(table, test=s0)], table, PROTOCOLS["text_speaker"])


def test_speakers_on_both_sides_are_named():
    table = make_table(speakers=4)
    assert speakers_on_both_sides(make_folds("loso", table), table) == []
    assert speakers_on_both_sides(make_folds("light_sernet", table), table) == [
        "s0",
        "s1",
        "s2",
        "s3",
    ]


@pytest.mark.parametrize(
    "name, change, options, error, words",
    [
        ("losso", {}, {}, UnknownName, "did you mean 'loso'"),
        ("loso", {}, {"valid_speaker": 1}, UnknownName, "did you mean 'valid_speakers'"),
        ("loso", {}, {"valid_speakers": -1}, BadRecipe, "valid_speakers must be a whole number"),
        ("loso", {}, {"valid_speakers": 5}, BadCorpus, "needs at least 7 speakers .* has 6"),
        ("loso", {}, {"seed": -1}, BadRecipe, "seed must be a whole number"),
        ("loso", {"speaker": ""}, {}, BadCorpus, "needs the speaker of every utterance"),
        ("loso_session", {"session": ""}, {}, BadCorpus, "needs the session"),
        ("loso_session", {"session": "a"}, {}, BadCorpus, "at least 2 sessions"),
        ("loso_session", {}, {"valid_speakers": 3}, BadRecipe, "session 'session1' has 2"),
        ("text_speaker", {"text": ""}, {}, BadCorpus, "needs the text"),
        ("text_speaker", {}, {"text_groups": 9}, BadRecipe, "is 9, but there are 4 sentences"),
        ("speaker_kfold", {}, {"k": 2}, BadRecipe, "k must be a whole number >= 3"),
        ("random_kfold", {}, {"valid_share": 1.0}, BadRecipe, "between 0 and 1, got 1.0"),
        ("csv", {}, {}, BadRecipe, "needs the option file"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(name, change, options, error, words):
    table = make_table().assign(**change)
    with pytest.raises(error, match=words) as raised:
        make_folds(name, table, **options)
    assert "\n" not in str(raised.value)


def test_no_utterances_are_refused():
    with pytest.raises(BadCorpus, match="no utterances"):
        make_folds("loso", make_table().iloc[:0])


# --- on disk ---


def test_folds_survive_the_disk(tmp_path):
    folds = make_folds("loso", make_table())
    write_folds(folds, tmp_path / "folds.json")
    assert read_folds(tmp_path / "folds.json") == folds
    assert [path.name for path in tmp_path.iterdir()] == ["folds.json"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"folds": [{"name": "a"}]}', '{"folds": [{"name": 1, "train": "ab"}]}'],
)
def test_a_file_without_folds_is_refused(tmp_path, text):
    (tmp_path / "folds.json").write_text(text)
    with pytest.raises(BadResults, match="does not hold folds"):
        read_folds(tmp_path / "folds.json")


def test_missing_folds_are_refused(tmp_path):
    with pytest.raises(BadResults, match="Cannot read the folds"):
        read_folds(tmp_path / "folds.json")


# --- from files ---


def write_csv(path, folds, key):
    table = make_table()
    file = dict(zip(table["utterance"], table["file"], strict=True))
    rows = [
        {
            key: utterance if key == "utterance" else file[utterance].replace("/corpus/", folder),
            "fold": fold.name,
            "part": part,
        }
        for folder in ["elsewhere/"]
        for fold in folds
        for part in ("train", "valid", "test")
        for utterance in getattr(fold, part)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


def as_sets(folds):
    return [(f.name, set(f.train), set(f.valid), set(f.test)) for f in folds]


@pytest.mark.parametrize("key", ["utterance", "file"])
def test_folds_of_a_csv_are_those_that_were_written(tmp_path, key):
    table = make_table()
    folds = make_folds("loso", table)
    write_csv(tmp_path / "folds.csv", folds, key)
    again = make_folds("csv", table, file=tmp_path / "folds.csv")
    assert as_sets(again) == as_sets(folds)


def test_a_csv_may_call_validation_dev_and_have_one_fold_without_a_name(tmp_path):
    table = make_table(speakers=3)
    part = {"s0": "test", "s1": "dev", "s2": "training"}
    rows = table.assign(part=table["speaker"].map(part))
    rows[["utterance", "part"]].to_csv(tmp_path / "folds.csv", index=False)
    (fold,) = make_folds("csv", table, file=tmp_path / "folds.csv")
    assert set(fold.valid) == set(table["utterance"][table["speaker"] == "s1"])


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    table = make_table(speakers=2, texts=1, takes=1)
    table["file"] = [
        f"/c/{s}/{label}.flac" for s, label in zip(table["speaker"], table["label"], strict=True)
    ]
    rows = pd.DataFrame(
        {
            "file": [
                f"{s}\\{x}.wav" for s, x in zip(table["speaker"], table["label"], strict=True)
            ],
            "part": np.where(table["speaker"] == "s0", "test", "train"),
        }
    )
    rows.to_csv(tmp_path / "folds.csv", index=False)
    (fold,) = make_folds("csv", table, file=tmp_path / "folds.csv")
    assert set(fold.test) == set(table["utterance"][table["speaker"] == "s0"])

    rows["file"] = [f"{label}.wav" for label in table["label"]]
    rows.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(BadCorpus, match="fits several files"):
        make_folds("csv", table, file=tmp_path / "folds.csv")


def test_utterances_that_a_fold_file_leaves_out_are_told(tmp_path):
    table = make_table(speakers=4)
    folds = make_folds("loso", table[table["speaker"] != "s3"])
    write_csv(tmp_path / "folds.csv", folds, "utterance")
    with pytest.warns(LightserWarning, match=r"leaves out 24 of 96 utterances, e\.g\. 's3"):
        make_folds("csv", table, file=tmp_path / "folds.csv")


@pytest.mark.parametrize(
    "text, words",
    [
        ("utterance,part\nnobody,train\n", "'nobody' is not in the table"),
        ("utterance,part\ns0t0anger0,exam\n", "line 2: part 'exam' is not"),
        ("utterance,part\ns0t0anger0,train\ns0t0anger0,test\n", "is listed twice"),
        ("utterance,fold\ns0t0anger0,1\n", "lacks the column 'part'"),
        ("name,part\ns0t0anger0,train\n", "lacks the column 'file'"),
        ("", "holds no folds"),
        (None, "Cannot read"),
    ],
)
def test_a_csv_that_holds_no_folds_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(BadCorpus, match=words):
        make_folds("csv", make_table(), file=tmp_path / "folds.csv")


def write_emobox(root, folds):
    for number, fold in enumerate(folds, start=1):
        folder = root / f"fold_{number}"
        folder.mkdir(parents=True)
        for part in ("train", "test"):
            lines = [
                json.dumps({"key": f"mine-{u}", "wav": f"downloads/mine/{u}.wav", "emo": "anger"})
                for u in getattr(fold, part)
            ]
            name = f"mine_{part}_fold_{number}.jsonl"
            (folder / name).write_text("\n".join(lines) + "\n")


def test_emobox_folds_take_a_fifth_of_train_for_validation(tmp_path):
    table = make_table(speakers=11)
    folds = make_folds("loso", table, valid_speakers=0)
    write_emobox(tmp_path, folds)
    again = make_folds("emobox", table, folder=tmp_path)
    assert [fold.name for fold in again] == [f"fold{i}" for i in range(1, 12)]
    for ours, theirs in zip(again, folds, strict=True):
        assert set(ours.test) == set(theirs.test)
        assert set(ours.train) | set(ours.valid) == set(theirs.train)
        assert len(ours.valid) == math.ceil(0.2 * len(theirs.train))


def test_a_folder_without_emobox_folds_is_refused(tmp_path):
    with pytest.raises(BadCorpus, match="no EmoBox folds"):
        make_folds("emobox", make_table(), folder=tmp_path)
    (tmp_path / "fold_1").mkdir()
    (tmp_path / "fold_1" / "mine_train_fold_1.jsonl").write_text('{"key": "a"}\n')
    with pytest.raises(BadCorpus, match="line 1: no JSON object with 'wav'"):
        make_folds("emobox", make_table(), folder=tmp_path)


# --- a real corpus ---


def test_protocols_on_emodb(corpus_root):
    table = load_corpus("emodb", corpus_root("emodb"))
    sizes = {
        name: [len(f.test) for f in make_folds(name, table)]
        for name in GENERATED
        if name not in ("loso_session", "loco")  # which Emo-DB alone is no example of
    }
    assert sum(sizes["light_sernet"]) == 1070
    assert len(sizes["loso"]) == 10
    assert sizes["zhong2020"] == [53] * 9
    for name in ("loso", "speaker_kfold", "text_speaker", "random_kfold"):
        assert sum(sizes[name]) == 535

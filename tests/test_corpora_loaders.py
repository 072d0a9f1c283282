"""The loaders, on the real corpora where they are, and on small copies and slips anywhere."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES

from lightser.corpora import CORPORA, load_corpus
from lightser.corpora.utterances import agreement_level, write_table
from lightser.errors import BadCorpus, LightserWarning, MissingExtra, UnknownName

CLIPS = ("08a02Fe", "10b10Wa", "14a04Tc")  # real Emo-DB clips that ship with the package


@pytest.fixture
def three_clips(tmp_path):
    """A copy of Emo-DB that has three of its clips, as FLAC."""
    (tmp_path / "wav").mkdir()
    for name in CLIPS:
        shutil.copy(SAMPLES / f"{name}.flac", tmp_path / "wav")
    return tmp_path


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# Whole copies.


@pytest.mark.parametrize(
    ("name", "speakers", "texts"), [("emodb", 10, 10), ("ravdess", 24, 2), ("nemo", 9, 90)]
)
def test_a_whole_copy_has_the_published_counts(corpus_root, name, speakers, texts):
    table = load_corpus(name, corpus_root(name))  # a warning would fail the test
    assert len(table) == CORPORA[name].utterances
    assert table["label"].value_counts().to_dict() == CORPORA[name].counts
    assert table["speaker"].nunique() == speakers
    assert table["text"].nunique() == texts
    assert (table.groupby("speaker")["gender"].nunique() == 1).all()
    assert set(table["corpus"]) == {name}
    assert set(table["language"]) == {CORPORA[name].language}


def test_emodb_says_how_many_listeners_recognised_each_emotion(corpus_root):
    table = load_corpus("emodb", corpus_root("emodb")).set_index("utterance")
    assert table["agreement"].between(0.8, 1).all()  # what was recognised less is not published
    assert table.loc["03a01Fa", "agreement"] == pytest.approx(0.90)
    assert table.loc["16b10Td", "agreement"] == pytest.approx(0.95)
    levels = agreement_level(table["agreement"])
    assert (levels == "A").sum() == (table["agreement"] == 1).sum() > 100
    assert (levels == "C").sum() == 0


def test_ravdess_actors_of_even_number_are_women(corpus_root):
    table = load_corpus("ravdess", corpus_root("ravdess"))
    assert (table["gender"] == "female").sum() == 720
    assert set(table.loc[table["gender"] == "female", "speaker"]) == {
        f"{n:02d}" for n in range(2, 25, 2)
    }
    assert table["intensity"].value_counts().to_dict() == {"normal": 768, "strong": 672}


def test_a_whole_emogator_has_thirty_emotions_of_each_person(corpus_root):
    table = load_corpus("emogator", corpus_root("emogator"))
    assert len(table) == 32130
    assert (table.groupby("speaker").size() == 90).all() and table["speaker"].nunique() == 357
    assert table["label"].value_counts().to_dict() == CORPORA["emogator"].counts
    assert (table["category"].value_counts() == 1071).all()


def test_a_whole_emospeech_has_the_counted_commands(corpus_root):
    root = corpus_root("emospeech")
    table = load_corpus("emospeech", root)
    assert table["label"].value_counts().to_dict() == CORPORA["emospeech"].counts
    assert table["speaker"].nunique() == 106 and (table["speaker"] == "").sum() == 4514
    assert len(load_corpus("emospeech", root, known_speakers=True)) == 2018
    assert set(table["place"]) == {
        *("House", "Metro", "Misc", "Near Lake", "Railway", "Roads", "webservice")
    }


def test_a_whole_emotiontts_has_every_emotion_of_every_voice(corpus_root):
    table = load_corpus("emotiontts_ko", corpus_root("emotiontts_ko"))
    assert table["label"].value_counts().to_dict() == CORPORA["emotiontts_ko"].counts
    assert table["speaker"].nunique() == 13
    plain = table[table["part"] == "em"]
    said = plain.groupby("text")["label"].nunique()
    assert (said == 4).all()  # words that cannot tell the emotion
    assert (
        "그 말을 들으니까 정말 마음이 아프다"
        in table.set_index("utterance").loc["nea00201", "text"]
    )


# Emo-DB.


def test_emodb_reads_flac_and_wav_in_the_folder_itself_too(tmp_path):
    shutil.copy(SAMPLES / "08a02Fe.flac", tmp_path)
    touch(tmp_path, "10b10Wa.wav")
    with pytest.warns(LightserWarning, match="533 of 535 utterances missing"):
        table = load_corpus("emodb", tmp_path)
    assert list(table["label"]) == ["happiness", "anger"]
    assert list(table["gender"]) == ["female", "male"]
    assert list(table["text"]) == ["a02", "b10"]


def test_emodb_without_its_listening_test_has_no_agreement(three_clips):
    with pytest.warns(LightserWarning):
        assert load_corpus("emodb", three_clips)["agreement"].isna().all()


def test_emodb_reads_the_published_spelling_of_the_listening_test(three_clips):
    line = "87\xa0 \t08a02Fe.wav\t90,48\xa0\xa0\xa0\t57,14\xa0\t\r\n"
    (three_clips / "erkennung.txt").write_bytes(("Nr.\tSatz\terkannt\r\n" + line).encode("latin-1"))
    with pytest.warns(LightserWarning):
        table = load_corpus("emodb", three_clips).set_index("utterance")
    assert table.loc["08a02Fe", "agreement"] == pytest.approx(0.9048)
    assert np.isnan(table.loc["10b10Wa", "agreement"])


def test_what_is_missing_and_what_is_left_out_is_said_with_names(three_clips):
    touch(three_clips, "wav/03a01Zz.wav", "wav/03a01Aa.wav")  # no emotion; judged, not published
    with pytest.warns(LightserWarning) as said:
        table = load_corpus("emodb", three_clips)
    assert sorted(table["utterance"]) == sorted(CLIPS)
    missing, left_out = (str(warning.message) for warning in said)
    assert "532 of 535 utterances missing (03a01Fa, 03a01Nc, 03a01Wa, ...)" in missing
    assert "surplus files, left out: 2 (03a01Aa, 03a01Zz)" in left_out
    assert f"lightser corpus check emodb {three_clips}" in missing


# RAVDESS.


def test_ravdess_leaves_songs_out_without_a_word(tmp_path):
    touch(tmp_path, "Actor_07/03-01-03-01-02-01-07.wav", "Actor_07/03-02-03-01-02-01-07.wav")
    with pytest.warns(LightserWarning) as said:
        table = load_corpus("ravdess", tmp_path)
    assert len(said) == 1 and "1439 of 1440 utterances missing" in str(said[0].message)
    assert table.loc[0, "label"] == "happiness"
    assert table.loc[0, "text"] == "Dogs are sitting by the door."
    assert table.loc[0, "gender"] == "male"


def test_ravdess_is_read_from_one_flat_folder_too(tmp_path):
    touch(tmp_path, "03-01-08-02-01-01-12.flac")
    with pytest.warns(LightserWarning):
        table = load_corpus("ravdess", tmp_path)
    assert table.loc[0, ["label", "speaker", "gender"]].tolist() == ["surprise", "12", "female"]


# nEMO.

HEAD = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"


def test_nemo_reads_whatever_its_clips_were_encoded_to(tmp_path):
    (tmp_path / "data.tsv").write_text(
        HEAD
        + 'WR0_surprised_64.wav\tsurprised\tUcho "wykrywa".\tucho\t        WR0\tmale\t23\n'
        + "EB0_anger_1.wav\tanger\tLubię czytać.\tlubię czytać\t        EB0\tfemale\t27\n"
        + "EB0_fear_1.wav\tfear\tLubię czytać.\tlubię czytać\t        EB0\tfemale\t27\n",
        encoding="utf-8",
    )
    touch(tmp_path, "samples/WR0_surprised_64.ogg", "samples/EB0_anger_1.flac")
    with pytest.warns(LightserWarning, match=r"1 of 4481 utterances missing \(EB0_fear_1\)"):
        table = load_corpus("nemo", tmp_path)
    assert list(table["utterance"]) == ["EB0_anger_1", "WR0_surprised_64"]
    assert list(table["label"]) == ["anger", "surprise"]
    assert list(table["speaker"]) == ["EB0", "WR0"]
    assert table.loc[0, "text"] == "Lubię czytać."


def test_nemo_that_was_cut_short_together_with_its_list_is_noticed(tmp_path):
    (tmp_path / "data.tsv").write_text(
        HEAD + "EB0_anger_1.wav\tanger\tx\tx\tEB0\tfemale\t27\n", encoding="utf-8"
    )
    touch(tmp_path, "samples/EB0_anger_1.wav")
    with pytest.warns(LightserWarning, match="1 utterances instead of 4481"):
        load_corpus("nemo", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file_id\tage\n", "lacks the columns emotion, raw_text, speaker_id, gender"),
        (HEAD + "a.wav\tjoy\tx\tx\tEB0\tfemale\t27\n", "emotion 'joy' is none of"),
        (HEAD + "a.wav\tanger\tx\tx\tEB0\tfemale\t\n", "'' is no age in its data.tsv"),
        (HEAD, "none of its clips"),
    ],
)
def test_nemo_with_another_list_is_refused(tmp_path, text, words):
    (tmp_path / "data.tsv").write_text(text, encoding="utf-8")
    touch(tmp_path, "samples/a.wav")
    with pytest.raises(BadCorpus, match=words):
        load_corpus("nemo", tmp_path)


# EmoGator.


def test_emogator_keeps_the_names_of_what_no_other_corpus_has(tmp_path):
    touch(tmp_path, *(f"data/mp3/000007-{n:02d}-2.mp3" for n in (2, 3, 13, 18, 23, 27, 28)))
    touch(tmp_path, "data/mp3/000358-01-1.mp3", "README.md")  # nobody's
    with pytest.warns(LightserWarning) as said:
        table = load_corpus("emogator", tmp_path)
    assert table["label"].tolist() == [
        *("happiness", "anger", "happiness", "neutral", "romantic love", "surprise", "surprise")
    ]
    assert table["category"].tolist()[-2:] == ["Surprise (Negative)", "Surprise (Positive)"]
    assert set(table["speaker"]) == {"000007"}
    assert set(table["label"]) <= set(CORPORA["emogator"].labels)
    missing, left_out = (str(warning.message) for warning in said)
    assert "32123 of 32130 utterances missing" in missing
    assert "left out: 1 (000358-01-1)" in left_out


# EmoSpeech.

ANNA, NOBODY = "a" * 56, "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"


def test_emospeech_leaves_out_backgrounds_twins_and_what_has_two_emotions(tmp_path):
    touch(
        tmp_path,
        f"House/stop-safe-angry-1563-{ANNA}.wav",
        f"Near Lake/bacho-glass break-calm-20190709-{NOBODY}.wav",
        f"Misc/background-safe-calm-1-{NOBODY}.wav",
        f"Misc/unknown-safe-None-1-{NOBODY}.wav",
        f"Roads/help-safe-fearful-7-{ANNA}.wav",
        f"Roads/help-scream-fearful-7-{ANNA}.wav",
        f"webservice/go-safe-happy-??-{ANNA}.wav",
        f"webservice/go-safe-angry-1563121805803-{ANNA}.wav",  # and fearful, at the same time
        f"Misc/go-safe-sad-1-{ANNA}.wav",
        "License.txt",
    )
    with pytest.warns(LightserWarning) as said:
        table = load_corpus("emospeech", tmp_path)
    left_out, counted = (str(warning.message) for warning in said)
    assert "left out: 1 (go-safe-sad-1-" in left_out
    assert "4 utterances instead of 6532" in counted
    assert table["label"].tolist() == ["anger", "neutral", "fear", "happiness"]
    assert table["speaker"].tolist() == [ANNA, "", ANNA, ANNA]
    assert table["language"].tolist() == ["en", "hi", "en", "en"]
    assert table["place"].tolist() == ["House", "Near Lake", "Roads", "webservice"]
    assert table["environment"].tolist() == ["safe", "glass break", "scream", "safe"]
    with pytest.warns(LightserWarning, match="surplus"):
        known = load_corpus("emospeech", tmp_path, known_speakers=True)
    assert set(known["speaker"]) == {ANNA} and len(known) == 3


# EmotionTTS.


@pytest.mark.parametrize("folder", ["", "Dataset/SpeechCorpus/Emotional/"])
def test_emotiontts_has_anger_where_its_words_have_it(tmp_path, folder):
    touch(
        tmp_path,
        *(f"{folder}plain-to-emotional/emf/wav/emf00{n}03.wav" for n in range(4)),
        f"{folder}emotional-to-emotional/nea/wav/nea00305.wav",
        f"{folder}emotional-to-emotional/nea/wav/nea00306.wav",
    )
    words = tmp_path / f"{folder}emotional-to-emotional/nea/transcript/nea00305.txt"
    words.parent.mkdir()
    words.write_text("\ufeff그렇게 어렵습니까?\r\n", encoding="utf-8")
    with pytest.warns(LightserWarning) as said:
        table = load_corpus("emotiontts_ko", tmp_path)
    missing, left_out = (str(warning.message) for warning in said)
    assert "295 of 300" in missing and "left out: 1 (nea00306)" in left_out
    assert table["label"].tolist() == ["neutral", "happiness", "sadness", "anger", "anger"]
    assert table["gender"].tolist() == ["male"] * 4 + ["female"]
    assert table["text"].tolist() == [""] * 4 + ["그렇게 어렵습니까?"]


def test_the_two_women_of_both_parts_of_emotiontts_are_one_voice_each(tmp_path):
    touch(
        tmp_path,
        "plain-to-emotional/ema/wav/ema00001.wav",
        "emotional-to-emotional/nea/wav/nea00001.wav",
    )
    with pytest.warns(LightserWarning):
        assert load_corpus("emotiontts_ko", tmp_path)["speaker"].tolist() == ["a", "a"]


# Folders by label.


def test_folders_are_labels_and_a_pattern_finds_the_speaker(tmp_path):
    touch(tmp_path, "anger/03a.wav", "anger/08/deep.ogg", "joy/12b.flac", "notes.txt", "top.wav")
    touch(tmp_path, "anger/._03a.wav", ".cache/x.wav")
    with pytest.warns(LightserWarning, match="in no folder by label is left out: top.wav$"):
        table = load_corpus("folder", tmp_path, speaker=r"/(\d\d)")
    assert list(table["label"]) == ["anger", "anger", "joy"]
    assert list(table["speaker"]) == ["03", "08", "12"]
    assert list(table["utterance"]) == ["03a", "deep", "12b"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders there")
def test_no_file_of_a_folder_by_label_is_lost_without_a_word(tmp_path):
    touch(tmp_path, "anger/a.wma", "anger/b.wav", "fear/c.wav")
    os.mkfifo(tmp_path / "anger/pipe.wav")
    (tmp_path / "joy").symlink_to(tmp_path / "fear")
    table = load_corpus("folder", tmp_path, speaker=r"/(\w)")
    assert list(table["utterance"]) == ["anger/a", "anger/b", "fear/c", "joy/c"]
    touch(tmp_path, "anger/b.flac")
    with pytest.raises(BadCorpus, match=r"b\.flac and .*b\.wav are the same utterance; keep one"):
        load_corpus("folder", tmp_path, speaker=r"/(\w)")


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_a_name_that_is_not_unicode_is_said(tmp_path):
    (tmp_path / "anger").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "anger") + b"/x\xff.wav")).touch()
    with pytest.raises(BadCorpus, match="is not Unicode"):
        load_corpus("folder", tmp_path, speaker=r"/(\w)")


def test_a_named_group_of_the_pattern_is_the_speaker(tmp_path):
    touch(tmp_path, "anger/take1_mia.wav")
    pattern = r"take(\d)_(?P<speaker>\w+)\."
    assert load_corpus("folder", tmp_path, speaker=pattern).loc[0, "speaker"] == "mia"


def test_without_a_pattern_we_say_that_speakers_cannot_be_held_apart(tmp_path):
    touch(tmp_path, "anger/a.wav")
    with pytest.warns(LightserWarning, match="no protocol can keep a voice out of training"):
        assert load_corpus("folder", tmp_path).loc[0, "speaker"] == ""


def test_files_of_one_name_under_two_labels_are_two_utterances(tmp_path):
    touch(tmp_path, "anger/01.wav", "joy/01.wav")
    table = load_corpus("folder", tmp_path, speaker=r"(\d+)\.")
    assert list(table["utterance"]) == ["anger/01", "joy/01"]


def test_folders_that_are_no_labels_are_read_for_their_speech(tmp_path):
    touch(tmp_path, "a/03a.wav", "b/deep/08b.flac", "10c.mp3")
    table = load_corpus("folder", tmp_path, speaker=r"(\d\d)", labelled=False)
    assert set(table["label"]) == {"unlabelled"}
    assert table["speaker"].tolist() == ["10", "03", "08"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", r"'\(' is no regular expression"),
        (r"\d\d", "has no group"),
        (r"(\d\d\d)", "finds no speaker in anger/03a.wav"),
    ],
)
def test_a_pattern_that_finds_no_speaker_is_answered_with_path_and_pattern(
    tmp_path, pattern, words
):
    touch(tmp_path, "anger/03a.wav")
    with pytest.raises(BadCorpus, match=words):
        load_corpus("folder", tmp_path, speaker=pattern)


# Tables.


def csv(tmp_path, text, name="list.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_table_as_nkululeko_has_it_is_read_as_it_is(tmp_path):
    path = csv(tmp_path, "file,speaker,emotion,gender\nwav/a.wav,03,anger,f\nb.wav,08,joy,male\n")
    table = load_corpus("table", path)
    assert list(table["file"]) == [str(tmp_path / "wav" / "a.wav"), str(tmp_path / "b.wav")]
    assert list(table["speaker"]) == ["03", "08"]
    assert list(table["label"]) == ["anger", "joy"]
    assert list(table["gender"]) == ["female", "male"]
    assert load_corpus("table", tmp_path).equals(table)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_of_any_name_are_read_through_a_mapping(tmp_path, separator):
    text = "clip,person,felt,who\n/x/a.wav,7,ang,me\n/x/b.wav,NA,hap,you\n"
    path = csv(tmp_path, text.replace(",", separator), "list.tsv")
    table = load_corpus(
        "table",
        path,
        columns={"file": "clip", "speaker": "person", "label": "felt"},
        labels={"ang": "anger", "hap": "happiness"},
    )
    assert list(table["speaker"]) == ["7", "NA"]
    assert list(table["label"]) == ["anger", "happiness"]
    assert "who" not in table


def test_parts_of_files_are_read_in_seconds_and_in_durations(tmp_path):
    path = csv(
        tmp_path,
        "file,start,end,emotion\n"
        "a.wav,0 days 00:00:01.500000,0 days 00:01:00,anger\na.wav,60,,fear\nb.wav,,,joy\n",
    )
    table = load_corpus("table", path)
    assert table["start"].tolist()[:2] == [1.5, 60.0]
    assert table["end"].tolist()[0] == 60.0
    assert list(table["utterance"]) == ["a[1.5-60]", "a[60-]", "b"]
    with pytest.raises(BadCorpus, match="'noon' is no time"):
        load_corpus("table", csv(tmp_path, "file,start,emotion\na.wav,noon,joy\n"))


def test_paths_may_start_from_another_folder(tmp_path):
    path = csv(tmp_path, "file,emotion\na.wav,anger\n")
    table = load_corpus("table", path, audio=tmp_path / "elsewhere")
    assert table.loc[0, "file"] == str(tmp_path / "elsewhere" / "a.wav")


def test_a_missing_column_is_answered_with_those_that_are_there(tmp_path):
    path = csv(tmp_path, "file,mood\na.wav,anger\n")
    with pytest.raises(BadCorpus, match="no column for the label; it has file, mood"):
        load_corpus("table", path)
    with pytest.raises(UnknownName, match="Unknown column 'moood'; did you mean 'mood'"):
        load_corpus("table", path, columns={"label": "moood"})
    with pytest.raises(UnknownName, match="'lable'; did you mean 'label'"):
        load_corpus("table", path, columns={"lable": "mood"})


def test_a_folder_of_two_tables_asks_which(tmp_path):
    csv(tmp_path, "file,emotion\n", "a.csv")
    csv(tmp_path, "file,emotion\n", "b.csv")
    with pytest.raises(BadCorpus, match=r"it holds a\.csv, b\.csv"):
        load_corpus("table", tmp_path)


def test_a_table_of_ours_comes_back_as_it_was(three_clips):
    with pytest.warns(LightserWarning):
        table = load_corpus("emodb", three_clips).drop(columns="age")
    write_table(table, three_clips / "emodb.csv")
    pd.testing.assert_frame_equal(load_corpus("table", three_clips), table)
    by_text = load_corpus("table", three_clips, columns={"speaker": "text"})
    assert list(by_text["speaker"]) == list(table["text"])
    with pytest.raises(UnknownName, match="nosuch"):
        load_corpus("table", three_clips, columns={"label": "nosuch"})


# audformat.


def test_an_audformat_folder_of_ours_comes_back_as_it_was(three_clips):
    pytest.importorskip("audformat")
    from lightser.corpora.table import write_audformat

    with pytest.warns(LightserWarning):
        table = load_corpus("emodb", three_clips)
    table.loc[1, "start":"end"] = [0.25, 1.125]
    write_audformat(table, three_clips, CORPORA["emodb"])
    again = load_corpus("table", three_clips)
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
    text = (three_clips / "db.utterances.csv").read_text()
    assert "\nwav/08a02Fe.flac," in text  # relative: the folder can be moved
    assert not list(three_clips.glob(".audformat-*"))


def test_what_we_write_is_audformat_to_its_own_package(three_clips):
    audformat = pytest.importorskip("audformat")
    from lightser.corpora.table import write_audformat

    with pytest.warns(LightserWarning):
        table = load_corpus("emodb", three_clips)
    write_audformat(table, three_clips, CORPORA["emodb"])
    database = audformat.Database.load(str(three_clips))
    assert database.is_portable
    assert database.license == "CC0-1.0"
    assert database.usage == "unrestricted"
    assert database.languages == ["deu"]
    assert database.get("label")["label"].tolist() == ["happiness", "anger", "sadness"]
    assert database.schemes["label"].labels == list(CORPORA["emodb"].labels)


def test_an_audformat_database_in_its_usual_cut_is_read(tmp_path):
    """Labels in one table, speakers by file in another, their gender in the scheme of speakers."""
    audformat = pytest.importorskip("audformat")
    database = audformat.Database(name="mine", languages=["pl"])
    database.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    database.schemes["speaker"] = audformat.Scheme(
        labels={"03": {"gender": "female"}, "08": {"gender": "male"}}
    )
    database.schemes["confidence"] = audformat.Scheme("float")
    files = audformat.filewise_index(["wav/a.wav", "wav/b.wav"])
    database["files"] = audformat.Table(files)
    database["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    database["files"]["speaker"].set(["03", "08"])
    database["emotion"] = audformat.Table(files)
    database["emotion"]["emotion"] = audformat.Column(scheme_id="emotion")
    database["emotion"]["emotion"].set(["joy", "anger"])
    database["emotion"]["emotion.confidence"] = audformat.Column(scheme_id="confidence")
    database["emotion"]["emotion.confidence"].set([0.9, 0.8])
    database.save(str(tmp_path), storage_format="csv")

    table = load_corpus("table", tmp_path)
    assert list(table["utterance"]) == ["a", "b"]
    assert list(table["label"]) == ["joy", "anger"]
    assert list(table["speaker"]) == ["03", "08"]
    assert list(table["gender"]) == ["female", "male"]
    assert list(table["agreement"]) == [0.9, 0.8]
    assert list(table["language"]) == ["pl", "pl"]
    assert table.loc[0, "file"] == str(tmp_path / "wav" / "a.wav")
    with pytest.raises(UnknownName, match="did you mean 'emotion'"):
        load_corpus("table", tmp_path, table="emotions")


def test_audformat_without_its_package_is_answered_with_the_command_to_get_it(
    three_clips, monkeypatch
):
    (three_clips / "db.yaml").write_text("name: mine\n")
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(MissingExtra, match=r"lightser\[audformat\]"):
        load_corpus("table", three_clips)


# Several corpora together.


@pytest.fixture
def two_corpora(tmp_path, three_clips):
    """A folder with two copies of Emo-DB's three clips, one of them called a table."""
    root = tmp_path / "corpora"
    shutil.copytree(three_clips / "wav", root / "emodb" / "wav")
    files = [root / "emodb" / "wav" / f"{name}.flac" for name in CLIPS]
    labels = ("happiness", "anger", "surprise")
    rows = pd.DataFrame({"file": files, "label": labels, "speaker": ["08", "10", ""]})
    (root / "table").mkdir()
    rows.to_csv(root / "table" / "mine.csv", index=False)
    return root


@pytest.mark.filterwarnings("ignore:emodb in:lightser.errors.LightserWarning")
def test_corpora_together_keep_their_shared_labels_and_know_their_speakers_apart(two_corpora):
    table = load_corpus("together", two_corpora, members=["table", "emodb"])
    assert table["corpus"].tolist() == ["table", "table", "emodb", "emodb"]
    assert set(table["label"]) == {"anger", "happiness"}
    assert table["utterance"].tolist() == [
        *("table-08a02Fe", "table-10b10Wa"),
        *("emodb-08a02Fe", "emodb-10b10Wa"),
    ]
    assert set(table["speaker"]) == {"table-08", "table-10", "emodb-08", "emodb-10"}
    found = load_corpus("together", two_corpora)  # in the order in which corpora are listed
    assert sorted(found["utterance"]) == sorted(table["utterance"])
    named = load_corpus("together", two_corpora, labels=["surprise", "anger", "sadness"])
    assert named["label"].value_counts().to_dict() == {"anger": 2, "surprise": 1, "sadness": 1}
    assert named.set_index("utterance").loc["table-14a04Tc", "speaker"] == ""


@pytest.mark.filterwarnings("ignore:emodb in:lightser.errors.LightserWarning")
def test_corpora_that_cannot_go_together_are_answered_with_one_line(two_corpora):
    with pytest.raises(BadCorpus, match=r"at least two corpora, .* it holds emodb, table"):
        load_corpus("together", two_corpora, members=["emodb"])
    with pytest.raises(BadCorpus, match=r"no folder .*nemo for the corpus nemo"):
        load_corpus("together", two_corpora, members=["emodb", "nemo"])
    with pytest.raises(BadCorpus, match="'joy' is in none of"):
        load_corpus("together", two_corpora, labels=["joy", "anger"])
    with pytest.raises(BadCorpus, match="fewer than two labels in common"):
        load_corpus("together", two_corpora, labels=["anger"])
    with pytest.raises(UnknownName, match="emodbb"):
        load_corpus("together", two_corpora, members=["emodb", "emodbb"])


def test_three_whole_corpora_together_have_five_emotions(corpus_root):
    members = ["emodb", "ravdess", "nemo"]
    roots = {corpus_root(name).parent for name in members}
    table = load_corpus("together", roots.pop(), members=members)
    assert table["corpus"].value_counts().to_dict() == {"nemo": 3812, "ravdess": 864, "emodb": 408}
    assert set(table["label"]) == {"anger", "fear", "happiness", "neutral", "sadness"}
    assert table["speaker"].nunique() == 43

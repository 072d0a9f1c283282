"""The utterance table: its promises, its way to disk and back, content that is there twice."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import SAMPLES as CLIPS
from hypothesis import given, settings
from hypothesis import strategies as st

from lightser.corpora.utterances import (
    COLUMNS,
    agreement_level,
    check_table,
    content_hash,
    content_hashes,
    duplicates,
    find_audio,
    make_table,
    read_csv,
    read_table,
    utterance_id,
    write_table,
)
from lightser.errors import BadAudio, BadCorpus, LightserError

SAMPLES = sorted(CLIPS.glob("*.flac"))


def small(tmp_path, **change):
    rows = [
        {
            "file": str(tmp_path / "wav" / f"{name}.wav"),
            "speaker": f"0{i}",
            "label": "anger",
            "gender": "female",
            "text": 'She said: "no", twice\nand left',
            "votes": '{"anger": 3, "fear": 1}',
            "agreement": 0.75,
            **change,
        }
        for i, name in enumerate(["a", "b"])
    ]
    return make_table(rows, corpus="mine", language="en", style="acted")


def test_the_table_has_its_columns_in_order_and_an_index_from_zero(tmp_path):
    table = small(tmp_path)
    assert list(table) == list(COLUMNS)
    assert list(check_table(table[::-1]).index) == [0, 1]


def test_columns_of_ones_own_stand_behind_the_others(tmp_path):
    table = small(tmp_path, age=31)[["age", *COLUMNS]]
    assert list(check_table(table)) == [*COLUMNS, "age"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"utterance": "same"}, "utterance 'same' occurs twice"),
        ({"file": "relative.wav"}, "is not an absolute path"),
        ({"label": ""}, "label '' is empty"),
        ({"label": None}, "label .* is missing"),
        ({"gender": "f"}, "gender 'f' is not"),
        ({"style": "read"}, "style 'read' is not one of"),
        ({"agreement": 1.5}, "agreement 1.5 is not a share"),
        ({"agreement": "most"}, "agreement 'most' is not a number"),
        ({"votes": "anger"}, "votes 'anger' is not a JSON object"),
        ({"votes": '{"anger": "all"}'}, "votes .* is not a JSON object"),
        ({"start": -1.0}, "start -1.0 is negative"),
        ({"start": 2.0, "end": 1.0}, "end 1.0 is not after start"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused_with_row_and_value(tmp_path, change, words):
    with pytest.raises(BadCorpus, match=words):
        small(tmp_path, **change)


def test_a_table_without_a_column_names_it(tmp_path):
    with pytest.raises(BadCorpus, match="lacks the columns speaker, votes"):
        check_table(small(tmp_path).drop(columns=["votes", "speaker"]))


def test_an_empty_table_is_refused():
    with pytest.raises(BadCorpus, match="no utterances"):
        make_table([])


def test_a_table_comes_back_from_disk_as_it_was(tmp_path):
    table = small(tmp_path, speaker="007", session="NA")
    write_table(table, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), table)


@settings(deadline=None)  # disks differ
@given(agreement=st.floats(0, 1), start=st.floats(0, 1e4), length=st.floats(1e-3, 1e3))
def test_numbers_come_back_from_disk_bit_for_bit(tmp_path_factory, agreement, start, length):
    folder = tmp_path_factory.mktemp("table")
    row = {"file": "/a/x.wav", "label": "l", "start": start, "end": start + length}
    table = make_table([{**row, "agreement": agreement}], corpus="mine")
    write_table(table, folder / "t.csv")
    pd.testing.assert_frame_equal(read_table(folder / "t.csv"), table, check_exact=True)


def test_a_table_moves_together_with_the_files_below_it(tmp_path):
    (tmp_path / "here").mkdir()
    write_table(small(tmp_path / "here"), tmp_path / "here" / "table.csv")
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = read_table(tmp_path / "there" / "table.csv")
    assert moved["file"][0] == str(tmp_path / "there" / "wav" / "a.wav")


def test_a_file_outside_the_folder_of_the_table_stays_absolute(tmp_path):
    (tmp_path / "tables").mkdir()
    table = small(tmp_path)
    write_table(table, tmp_path / "tables" / "table.csv")
    assert table["file"][0] in (tmp_path / "tables" / "table.csv").read_text()


def test_nothing_is_left_behind_by_a_table_that_cannot_be_written(tmp_path):
    with pytest.raises(LightserError, match="cannot be written"):
        write_table(small(tmp_path), tmp_path / "no" / "table.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_table_is_answered_with_one_line(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"\x00\xff\xfe binary")
    with pytest.raises(BadCorpus):
        read_table(tmp_path / "table.csv")
    with pytest.raises(BadCorpus, match="Cannot read"):
        read_table(tmp_path / "none.csv")


def test_rows_may_end_in_a_comma_and_have_no_more_fields_than_the_header(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("file,label\na.wav,joy,\nb.wav,fear,\n")
    assert read_csv(path).to_dict("list") == {"file": ["a.wav", "b.wav"], "label": ["joy", "fear"]}
    path.write_text("file,label\na.wav,joy,\nb.wav,fear,x\n")
    with pytest.raises(BadCorpus, match="line 3: 3 cells, and there are 2 columns"):
        read_csv(path)


def test_parts_of_a_file_have_ids_of_their_own(tmp_path):
    file = str(tmp_path / "talk.wav")
    table = make_table(
        [{"file": file, "start": i, "end": i + 1.5, "label": "joy"} for i in range(3)],
        corpus="mine",
    )
    assert list(table["utterance"]) == ["talk[0-1.5]", "talk[1-2.5]", "talk[2-3.5]"]
    assert utterance_id(file) == "talk"


def test_levels_are_those_of_zhong():
    shares = [1.0, 0.999, 0.65, 13 / 20, 0.6499, 0.0, math.nan]
    assert agreement_level(shares).tolist() == ["A", "B", "B", "B", "C", "C", ""]


def test_the_same_samples_have_the_same_hash_in_wav_and_flac(tmp_path):
    samples, rate = soundfile.read(SAMPLES[0], dtype="int16")
    soundfile.write(tmp_path / "x.wav", samples, rate)
    assert content_hash(tmp_path / "x.wav") == content_hash(SAMPLES[0])


def test_one_changed_sample_changes_the_hash(tmp_path):
    samples, rate = soundfile.read(SAMPLES[0], dtype="int16")
    samples[len(samples) // 2] += 1
    soundfile.write(tmp_path / "x.wav", samples, rate)
    assert content_hash(tmp_path / "x.wav") != content_hash(SAMPLES[0])


def test_the_same_samples_at_another_rate_are_another_content(tmp_path):
    samples, rate = soundfile.read(SAMPLES[0], dtype="int16")
    soundfile.write(tmp_path / "x.wav", samples, rate // 2)
    assert content_hash(tmp_path / "x.wav") != content_hash(SAMPLES[0])


def test_a_part_of_a_file_has_the_hash_of_its_samples(tmp_path):
    samples, rate = soundfile.read(SAMPLES[0], dtype="int16")
    soundfile.write(tmp_path / "x.wav", samples[rate // 2 : rate], rate)
    assert content_hash(tmp_path / "x.wav") == content_hash(SAMPLES[0], 0.5, 1.0)


def test_duplicates_are_found_by_content_and_not_by_name(tmp_path):
    for i, source in enumerate([SAMPLES[0], SAMPLES[1], SAMPLES[0], SAMPLES[2], SAMPLES[0]]):
        shutil.copy(source, tmp_path / f"{i}.flac")
    rows = [{"file": str(tmp_path / f"{i}.flac"), "label": "anger"} for i in range(5)]
    table = make_table(rows, corpus="mine")
    assert duplicates(table) == [["0", "2", "4"]]
    hashes = content_hashes(table, threads=1)
    assert hashes.equals(content_hashes(table, threads=3))
    assert np.array_equal(hashes.index, table.index)
    assert duplicates(table, hashes) == [["0", "2", "4"]]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"this is not audio, however long it may be")
    with pytest.raises(BadAudio, match=r"x\.wav"):
        content_hash(tmp_path / "x.wav")


def test_hidden_files_and_other_files_are_no_clips(tmp_path):
    for name in ["b.wav", "a.FLAC", "._a.wav", "notes.txt"]:
        (tmp_path / name).touch()
    assert list(find_audio(tmp_path, "*")) == ["a", "b"]


def test_two_files_of_one_utterance_are_refused(tmp_path):
    for name in ["a.wav", "a.flac"]:
        (tmp_path / name).touch()
    with pytest.raises(BadCorpus, match="keep one"):
        find_audio(tmp_path, "*")

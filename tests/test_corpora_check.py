"""Checking a copy, and ``lightser corpus``, as a user meets them."""

import functools
import shutil
import sys

import pandas as pd
import pytest
import soundfile
from conftest import SAMPLES

from lightser.audio.files import audio_info
from lightser.cli import main
from lightser.corpora import CORPORA, check
from lightser.corpora.check import check_corpus
from lightser.corpora.utterances import read_table
from lightser.errors import LightserWarning, MissingExtra

PAIR = ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")  # published twice


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``lightser corpus ...``; return exit code, stdout and stderr."""

    def corpus(*arguments):
        monkeypatch.setattr(sys, "argv", ["lightser", "corpus", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return corpus


@pytest.fixture
def damaged(tmp_path):
    """A copy of Emo-DB with a clip, its copy under another name, junk, and a clip never published.

    The clip is real; 10b10Wa is the same audio as WAV instead of FLAC.
    """
    folder = tmp_path / "emodb" / "wav"
    folder.mkdir(parents=True)
    shutil.copy(SAMPLES / "08a02Fe.flac", folder)
    samples, rate = soundfile.read(SAMPLES / "08a02Fe.flac", dtype="int16")
    soundfile.write(folder / "10b10Wa.wav", samples, rate)
    (folder / "14a04Tc.wav").write_bytes(b"RIFF junk")
    shutil.copy(SAMPLES / "10b10Wa.flac", folder / "03a01Aa.flac")
    return tmp_path / "emodb"


@pytest.fixture
def sorted_by_label(tmp_path):
    for label, clip in [("anger", "10b10Wa"), ("happiness", "08a02Fe"), ("sadness", "14a04Tc")]:
        (tmp_path / label).mkdir()
        shutil.copy(SAMPLES / f"{clip}.flac", tmp_path / label)
    return tmp_path


@pytest.fixture(scope="module")
def checked(corpus_root):
    """Check a real copy once for all tests; decoding takes its time."""

    @functools.cache
    def check(name):
        heard = []
        found = check_corpus(name, corpus_root(name), heard=lambda *at: heard.append(at))
        return found, heard

    return check


@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("emodb", 24.8),
        ("ravdess", 88.8),
        ("nemo", 184.4),
        ("emogator", 1006.0),
        ("emospeech", 332.8),
        ("emotiontts_ko", 27.6),
    ],
)
def test_a_whole_copy_is_found_whole(checked, name, minutes):
    found, heard = checked(name)
    total = CORPORA[name].utterances
    assert found.faults == []
    assert (found.missing, found.surplus, found.unreadable) == ([], [], {})
    assert found.duration_s / 60 == pytest.approx(minutes, abs=0.05)
    assert found.per_speaker.to_numpy().sum() == total
    assert heard == [(done, total) for done in range(1, total + 1)]


def test_the_recording_that_ravdess_published_twice_is_noted_and_no_fault(checked):
    found, _ = checked("ravdess")
    assert found.published_duplicates == [list(PAIR)]
    assert found.duplicated == [] and found.faults == []


def test_all_that_is_wrong_with_a_copy_is_found(damaged):
    found = check_corpus("emodb", damaged)
    assert len(found.missing) == 532 and "03a01Fa" in found.missing
    assert found.surplus == ["03a01Aa"]
    assert found.duplicated == [["08a02Fe", "10b10Wa"]]
    assert list(found.unreadable) == ["14a04Tc"]
    assert found.faults == ["532 missing", "1 unreadable", "1 duplicated"]
    assert found.per_label.to_dict() == {
        **dict.fromkeys(CORPORA["emodb"].labels, 0),
        **{"anger": 1, "happiness": 1, "sadness": 1},
    }


def test_a_pair_that_was_not_published_is_a_fault_in_ravdess_too(tmp_path):
    folder = tmp_path / "Actor_07"
    folder.mkdir()
    for name in [*PAIR, "03-01-05-01-01-01-07"]:
        shutil.copy(SAMPLES / "08a02Fe.flac", folder / f"{name}.flac")
    found = check_corpus("ravdess", tmp_path)
    assert found.published_duplicates == []
    assert found.duplicated == [[*PAIR, "03-01-05-01-01-01-07"]]


def test_what_needs_an_extra_is_listed_and_the_others_are_decoded(sorted_by_label, monkeypatch):
    def only_flac(file):
        if "happiness" in file:
            raise MissingExtra("AAC", "codecs")
        return audio_info(file)

    monkeypatch.setattr(check, "audio_info", only_flac)
    found = check_corpus("folder", sorted_by_label, options={"speaker": r"/(\d\d)"})
    (why,) = found.unreadable.values()
    assert "lightser[codecs]" in why and len(found.sample_rates) == 1


def test_check_prints_all_of_it_and_ends_with_2(run, damaged):
    code, out, err = run("check", "emodb", damaged)
    assert code == 2
    assert "3 utterances, 3 speakers" in out
    assert "missing: 532\n  03a01Fa\n" in out
    assert "surplus, left out: 1\n  03a01Aa\n" in out
    assert "duplicated: 1\n  08a02Fe = 10b10Wa\n" in out
    assert "unreadable: 1\n" in out and "14a04Tc.wav" in out
    assert "whole: no" in out
    assert err.splitlines() == [
        "lightser: This copy of emodb is not whole: 532 missing, 1 unreadable, 1 duplicated"
    ]


def test_check_of_a_whole_copy_ends_with_0_and_says_nothing_beside(run, corpus_root):
    code, out, err = run("check", "emodb", corpus_root("emodb"))
    assert (code, err) == (0, "")
    assert "535 utterances, 10 speakers, 24.8 minutes at 16 kHz" in out
    assert "anger             127        127" in out
    assert out.endswith("whole: yes\n")


def test_check_of_folders_says_that_speakers_are_unknown(run, sorted_by_label):
    code, out, err = run("check", "folder", sorted_by_label)
    assert code == 0
    assert "3 utterances, unknown speakers" in out
    assert err.startswith("lightser: The speakers of") and err.count("\n") == 1
    code, out, err = run("check", "folder", sorted_by_label, "-o", r"speaker=/(\d\d)")
    assert (code, err) == (0, "")
    assert "3 utterances, 3 speakers" in out


def test_an_output_that_is_no_terminal_holds_no_control_codes_and_no_frames(run, damaged):
    for command in [("list",), ("list", "emodb"), ("check", "emodb", damaged)]:
        _, out, _ = run(*command)
        assert out.isprintable() or set(out) - {"\n"} <= set(map(chr, range(32, 127)))


def test_list_has_every_corpus_and_its_licence(run):
    _, out, _ = run("list")
    for name, corpus in CORPORA.items():
        line = next(line for line in out.splitlines() if line.startswith(name + " "))
        assert corpus.license.split(":")[0] in line


@pytest.mark.parametrize("name", CORPORA)
def test_list_of_one_corpus_has_all_that_is_known_of_it(run, name):
    _, out, _ = run("list", name)
    corpus = CORPORA[name]
    for fact in [corpus.title, corpus.license, corpus.cite, corpus.url, *corpus.labels]:
        assert fact in out


def test_table_writes_csv_that_we_read_back(run, sorted_by_label, tmp_path):
    out = tmp_path / "mine.csv"
    arguments = ("table", "folder", sorted_by_label, "-o", r"speaker=/(\d\d)")
    assert run(*arguments, "--out", out) == (0, "", f"3 utterances written to {out}\n")
    table = read_table(out)
    assert list(table["speaker"]) == ["10", "08", "14"]
    assert list(table["label"]) == ["anger", "happiness", "sadness"]
    code, printed, _ = run(*arguments)
    assert code == 0
    assert printed.splitlines()[0] == out.read_text().splitlines()[0]
    assert len(printed.splitlines()) == 4


def test_table_writes_audformat_that_we_read_back(run, sorted_by_label):
    pytest.importorskip("audformat")
    options = ("-o", r"speaker=/(\d\d)", "--format", "audformat")
    code, _, _ = run("table", "folder", sorted_by_label, *options, "--out", sorted_by_label)
    assert code == 0
    code, out, err = run("check", "table", sorted_by_label)
    assert (code, err) == (0, "")
    assert "3 utterances, 3 speakers" in out


def test_corpora_together_know_what_their_members_publish_twice(run, tmp_path):
    emodb, ravdess = tmp_path / "emodb" / "wav", tmp_path / "ravdess" / "Actor_07"
    for folder in (emodb, ravdess):
        folder.mkdir(parents=True)
    for name in ("08a02Fe", "10b10Wa"):
        shutil.copy(SAMPLES / f"{name}.flac", emodb)
    for name in PAIR:
        shutil.copy(SAMPLES / "14a04Tc.flac", ravdess / f"{name}.flac")
    samples, rate = soundfile.read(SAMPLES / "14a04Tc.flac", dtype="int16")
    soundfile.write(ravdess / "03-01-05-01-01-01-07.wav", samples[::-1], rate)
    code, out, _ = run("check", "together", tmp_path)
    assert code == 0 and "duplicated: none\npublished twice: 1\n" in out
    shutil.copy(SAMPLES / "14a04Tc.flac", ravdess / "03-01-05-01-01-02-07.flac")
    assert run("check", "together", tmp_path)[0] == 2


def test_table_never_replaces_what_it_reads(run, sorted_by_label, tmp_path):
    clip = sorted_by_label / "anger" / "10b10Wa.flac"
    listed = tmp_path / "list.csv"
    listed.write_text(f"file,label\n{clip},anger\n")
    for reads, source, out in (("folder", sorted_by_label, clip), ("table", listed, listed)):
        before = out.read_bytes()
        code, _, err = run("table", reads, source, "--out", out)
        assert code == 2 and "is read here; give the name of another file" in err
        assert out.read_bytes() == before


def test_table_reads_any_column_names(run, sorted_by_label, tmp_path):
    (tmp_path / "list.csv").write_text("clip,felt\nanger/10b10Wa.flac,Wut\n")
    names = ("-o", "columns.file=clip", "-o", "columns.label=felt", "-o", "labels.Wut=anger")
    code, _, _ = run("table", "table", tmp_path / "list.csv", *names, "--out", tmp_path / "o.csv")
    assert code == 0
    assert pd.read_csv(tmp_path / "o.csv").loc[0, ["file", "label"]].tolist() == [
        "anger/10b10Wa.flac",
        "anger",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "emodb", "{root}"), "is not Emo-DB"),
        (("check", "emo", "{root}"), "Unknown corpus 'emo'; did you mean 'nemo'"),
        (("check", "folder", "{root}", "-o", "speker=x"), "did you mean 'speaker'"),
        (("check", "folder", "{root}", "-o", "speaker"), "write KEY=VALUE"),
        (("check", "folder", "{root}", "-o", "speaker=3"), "speaker must be a text, not 3"),
        (("table", "emodb", "{root}", "--format", "cvs"), "did you mean 'csv'"),
        (("table", "emodb", "{root}", "--format", "audformat"), "say where with --out"),
        (("download", "folder", "{root}"), "Nobody offers"),
    ],
)
def test_a_slip_is_answered_with_one_line_and_2(run, tmp_path, arguments, words):
    code, out, err = run(*(a.format(root=tmp_path) for a in arguments))
    assert (code, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["list", "check", "table", "download"])
def test_the_help_of_each_command_has_an_example(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"Example: lightser corpus {verb}" in out


def test_warnings_of_a_loader_reach_a_program(sorted_by_label):
    with pytest.warns(LightserWarning, match="speakers of"):
        check_corpus("folder", sorted_by_label)

"""``lightser adapt``: batch norms of a bundled model take their statistics from other voices."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from model_folder import ANGER, HAPPINESS, SADNESS

from lightser import Recognizer, metrics
from lightser.audio.augment import speed
from lightser.audio.files import read_audio
from lightser.bundled import find_model
from lightser.card import WEIGHTS
from lightser.corpora import load_corpus
from lightser.corpora.emodb import LABELS
from lightser.errors import BadModel
from lightser.inference.segments import pad_to
from lightser.report.results import read_result
from lightser.training.adapt import AT_ONCE, adapt_norms, features_to_adapt_to, norms_of
from lightser.training.system import System

Lightser = Callable[..., SimpleNamespace]


def bundled(name: str = "emodb-light_sernet") -> System:
    return System.load(find_model(name) / WEIGHTS)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve clips: the samples at four speeds."""
    folder = tmp_path_factory.mktemp("recordings")
    for clip in (ANGER, HAPPINESS, SADNESS):
        for factor in (0.9, 0.95, 1.05, 1.1):
            soundfile.write(
                folder / f"{clip.stem}-{factor}.flac", speed(read_audio(clip), factor), 16_000
            )
    return folder


def folder_by_label(root: Path) -> Path:
    for label, clip in {"anger": ANGER, "sadness": SADNESS}.items():
        (root / "corpus" / label).mkdir(parents=True)
        shutil.copy(clip, root / "corpus" / label)
    return root / "corpus"


def windows_in(folder: Path) -> list[np.ndarray]:
    return [read_audio(path)[:48_000] for path in sorted(folder.glob("*.flac"))]


@torch.no_grad()
def test_the_first_norm_has_the_mean_and_variance_of_what_reaches_it(recordings: Path) -> None:
    system = bundled()
    heard = features_to_adapt_to(system, windows_in(recordings))
    adapt_norms(system, heard)
    path = system.network.paths[0]  # type: ignore[union-attr,index]
    reaching = path.convolution(system.standardize(torch.stack(heard))[:, None]).double().numpy()
    mean, variance = (
        reaching.mean(axis=(0, 2, 3)),
        reaching.var(axis=(0, 2, 3), ddof=1),
    )
    np.testing.assert_allclose(path.norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(path.norm.running_var.numpy(), variance, rtol=1e-4)


@torch.no_grad()
def test_nothing_else_changes_and_chance_has_no_part_in_it(recordings: Path) -> None:
    before, once, again = bundled(), bundled(), bundled()
    heard = features_to_adapt_to(once, windows_in(recordings)) * 7  # more than go at once
    assert len(heard) > AT_ONCE
    adapt_norms(once, heard)
    torch.manual_seed(1)
    adapt_norms(again, heard)
    assert not once.training and not any(module.training for module in once.modules())
    momenta = [norm.momentum for norm in norms_of(before)]
    assert [norm.momentum for norm in norms_of(once)] == momenta
    for (name, was), now, repeated in zip(
        before.state_dict().items(),
        once.state_dict().values(),
        again.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(now, repeated)
        if "running_" in name:
            assert not torch.equal(was, now)
        elif "num_batches_tracked" not in name:
            assert torch.equal(was, now), name


def test_a_network_without_norms_is_refused() -> None:
    with pytest.raises(BadModel, match=r"zhong2020.*no batch norm"):
        adapt_norms(bundled("emodb-zhong2020"), [])


def test_an_adapted_model_listens_and_says_what_it_is(
    recordings: Path, tmp_path: Path, lightser: Lightser
) -> None:
    out, given = tmp_path / "me", tmp_path / "given"
    shutil.copytree(recordings, given)
    (given / "broken.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEnothing")
    said = lightser("adapt", "default", given, "--out", out)
    assert said.code == 2 and said.out == f"{out}\n"
    assert "broken.wav" in said.err and "adapted to 12 recordings" in said.err
    assert "Traceback" not in said.err

    before, after = Recognizer.load(), Recognizer.load(out)  # which checks its golden answer
    clip = sorted(recordings.glob("*.flac"))[0]
    assert after.predict(clip).probabilities != before.predict(clip).probabilities
    assert after.labels == before.labels
    assert after.card.scores == () and after.card.trained_on == before.card.trained_on
    assert after.card.license == before.card.license and after.card.name == "me"
    assert "adapted to 12 recordings without labels" in after.card.limits
    assert (before.card.adapted_to, after.card.adapted_to) == (0, 12)
    assert "adapted to   12 recordings" in lightser("models", out).out
    told = lightser("evaluate", out, "--corpus", f"folder={folder_by_label(tmp_path)}")
    assert "adapted to 12 recordings without labels: transductive, if they are of" in told.out

    again = lightser("adapt", "default", recordings, "--out", out)
    assert again.code == 2 and "--overwrite" in again.err
    (tmp_path / "file").touch()
    refused = lightser("adapt", "default", recordings, "--out", tmp_path / "file" / "me")
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert "me' cannot be written: " in refused.err


@pytest.mark.parametrize(
    ("model", "files", "said"),
    [
        ("emodb-zhong2020", "all", "no batch norm"),
        ("default", "few", "3 recordings of speech say too little of a voice; give at least 10"),
        ("defualt", "all", "did you mean 'default'"),
        ("default", "none", "no such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    model: str, files: str, said: str, recordings: Path, tmp_path: Path, lightser: Lightser
) -> None:
    given = {"all": [recordings], "few": [ANGER, HAPPINESS, SADNESS], "none": ["nothere.wav"]}
    refused = lightser("adapt", model, *given[files], "--out", tmp_path / "me")
    assert refused.code == 2 and said in refused.err and refused.out == ""
    assert "Traceback" not in refused.err and not list(tmp_path.iterdir())


@pytest.fixture
def two_voices(recordings: Path, tmp_path: Path) -> Path:
    """A table of twelve recordings by each of two speakers, of whom one speaks a moment earlier."""
    lines = ["utterance,file,start,end,label,speaker"]
    for speaker, start in (("a", 0.0), ("b", 0.1)):
        for path in sorted(recordings.glob("*.flac")):
            label = LABELS[path.name[5]]
            lines.append(f"{speaker}-{path.stem},{path},{start},1.3,{label},{speaker}")
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "voices"


def test_each_speaker_is_scored_by_a_model_adapted_to_others_of_their_clips(
    two_voices: Path, tmp_path: Path, lightser: Lightser
) -> None:
    words = ("evaluate", "default", "--corpus", f"table={two_voices}", "--adapt", 10)
    said = lightser(*words, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    result = read_result(tmp_path / "out")
    assert result.scores["transductive"] and not result.is_honest
    assert "adapted to 10 other utterances of theirs, without labels" in said.out
    answers = result.predictions
    assert sorted(answers["speaker"]) == ["a", "a", "b", "b"]

    # As if it were done by hand, of the first speaker.
    tested = set(answers["utterance"])
    table = load_corpus("table", two_voices)
    rng = np.random.default_rng(0)
    own = table[table["speaker"] == "a"]
    order = rng.permutation(12)
    assert set(own["utterance"].iloc[order[10:]]) == tested & set(own["utterance"])
    system = bundled()
    heard = [read_audio(path, 16_000, start=0, end=1.3) for path in own["file"].iloc[order[:10]]]
    adapt_norms(system, features_to_adapt_to(system, heard))
    for i in order[10:]:
        samples = read_audio(own["file"].iloc[i], 16_000, start=0, end=1.3)
        with torch.no_grad():
            expected = system(torch.from_numpy(pad_to(samples, 48_000))[None])[0].numpy()
        row = answers[answers["utterance"] == own["utterance"].iloc[i]].iloc[0]
        got = [row[f"p_{label}"] for label in result.labels]
        np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--adapt", "12"), "Speaker a of table has 12 utterances, and 12 would be adapted to"),
        (("--adapt", "10", "--on-card"), "quotes the model as it is"),
        (("--adapt", "3"), "10"),
    ],
)
def test_adapting_to_too_many_or_too_few_is_refused(
    words: tuple[str, ...], said: str, two_voices: Path, tmp_path: Path, lightser: Lightser
) -> None:
    given = ("--corpus", f"table={two_voices}", "--out", tmp_path / "out")
    refused = lightser("evaluate", "default", *given, *words)
    assert refused.code == 2 and said in refused.err and not (tmp_path / "out").exists()


@torch.no_grad()
def test_strangers_are_recognised_better(corpus_root: Callable[[str], Path]) -> None:
    """Six actors of RAVDESS, each adapted to half of their clips and tested on the other half."""
    labels = ["anger", "fear", "happiness", "neutral", "sadness"]
    table = load_corpus("ravdess", corpus_root("ravdess"))
    table = table[table["label"].isin(labels)].sample(frac=1, random_state=0)
    columns = [Recognizer.load(verify=False).labels.index(label) for label in labels]
    as_it_is = bundled()
    truth, answers = [], []
    for speaker in sorted(set(table["speaker"]))[:6]:
        own = table[table["speaker"] == speaker]
        heard = features_to_adapt_to(
            as_it_is, [read_audio(path, 16_000)[16_000:64_000] for path in own["file"]]
        )
        half = len(own) // 2
        adapted = bundled()
        adapt_norms(adapted, heard[:half])
        truth += [labels.index(label) for label in own["label"][half:]]
        tested = torch.stack(heard[half:])
        answers.append([system.logits(tested)[:, columns] for system in (as_it_is, adapted)])
    before, after = (
        metrics.ua(metrics.confusion(truth, torch.cat(said).argmax(dim=1).numpy(), 5))
        for said in zip(*answers, strict=True)
    )
    assert after > before + 0.03, (before, after)

"""Clips to features to batches: the cache on disk, the order of a run, and what varies in it.

Shapes: B clips in a batch, T samples, F frames, M bands, C classes.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightser.audio.augment import record_anew, speed
from lightser.audio.files import read_audio
from lightser.audio.lines import through_devices
from lightser.features import FRONTENDS
from lightser.features.pretrained import Pretrained
from lightser.training.lessons import Answers
from lightser.training.recipe import Augment, Optim, Recipe
from lightser.whole import replacing

MIXSTYLE_BETA = 0.3  # of the shares; Schmid et al. (see _borrow_style)
FEATURES_VERSION = 2  # raise when a front end's numbers change, so that old caches are not read


@dataclass(frozen=True)
class Clips:
    """Utterances of one part of a fold, as features.

    Attributes:
        utterances: ids.
        corpora: what each is from.
        labels: ``[N]`` class indices.
        agreement: ``[N]`` share of votes for the label, NaN where unknown.
        variants: for each utterance, the feature sequences ``[F, M]`` to choose from when
            training: as recorded first, then recorded anew, then the same at other speeds, each
            cut into windows. When evaluating: its windows, whose probabilities are averaged.
        taught: what a teacher says of each, when training with one.
    """

    utterances: tuple[str, ...]
    corpora: tuple[str, ...]
    labels: Tensor
    agreement: Tensor
    variants: tuple[tuple[Tensor, ...], ...]
    taught: Answers | None = None

    def __len__(self) -> int:
        return len(self.utterances)


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    Attributes:
        features: ``[B, F, M]``, not yet standardised.
        lengths: ``[B]`` true frames, or None where all clips fill the batch.
        labels: ``[B]``.
        agreement: ``[B]``.
        partner: ``[B]`` which clip each is blended with (mixup), or None.
        share: ``[B]`` of each clip in its blend.
        taught: what the teacher says of them, if there is one.
    """

    features: Tensor
    lengths: Tensor | None
    labels: Tensor
    agreement: Tensor
    partner: Tensor | None = None
    share: Tensor | None = None
    taught: Answers | None = None


def cut_windows(
    samples: NDArray[np.float32], size: int | None, shortest: int
) -> list[NDArray[np.float32]]:
    """Cut a clip as the recogniser does: evenly spaced windows that cover it, or zeros around it.

    Args:
        samples: ``[T]``.
        size: samples in a window; None is the whole clip.
        shortest: samples below which zeros are added on both sides, the odd one at the end.
    """
    missing = shortest - len(samples)
    if missing > 0:
        samples = np.pad(samples, (missing // 2, missing - missing // 2))
    if size is None or len(samples) <= size:
        return [samples]
    n_windows = -(-len(samples) // size)
    starts = np.linspace(0, len(samples) - size, n_windows).round().astype(int)
    return [samples[start : start + size] for start in starts]


def features_of(
    table: pd.DataFrame, recipe: Recipe, frontend: nn.Module, *, training: bool, cache: Path
) -> list[tuple[Tensor, ...]]:
    """Return the variants (training) or windows of every row of an utterance table.

    They are kept on disk under the digest of the file's content and of every setting that shapes
    them, so that folds, seeds and recipes with the same front end share the work.
    """
    rate = int(frontend.sample_rate)  # type: ignore[arg-type]
    size = None if recipe.window_s is None else round(recipe.window_s * rate)
    shortest = int(frontend.min_samples)  # type: ignore[arg-type]
    augment = recipe.augment if training else Augment()
    place = augment.place
    settings: dict[str, object] = {
        "version": FEATURES_VERSION,
        "frontend": [recipe.frontend.name, recipe.frontend.options],
        "windows": None if place else [size, shortest],
        "speeds": [1.0, *augment.speeds],
    }
    if recipe.code is not None and recipe.code.brings(FRONTENDS, recipe.frontend.name):
        settings["code"] = recipe.code.sha256
    if isinstance(frontend, Pretrained):
        settings["weights"] = frontend.sha256()
    if augment.recordings:
        settings["recordings"] = augment.recordings
    if augment.devices:
        settings["devices"] = True
    folder = cache / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)

    variants: list[tuple[Tensor, ...]] = []
    for file, start, end in zip(table["file"], table["start"], table["end"], strict=True):
        content = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:32]
        path = folder / f"{content}-{start}-{end}.npz"
        try:
            with np.load(path) as stored:
                arrays = [stored[name] for name in stored.files]
        except (OSError, ValueError, EOFError, BadZipFile):  # not there, or empty or cut off
            span = [None if np.isnan(at) else float(at) for at in (start, end)]
            samples = read_audio(file, rate, start=span[0], end=span[1])
            windows = [
                window
                for heard in heard_as(samples, rate, augment, key=content)
                for window in ([heard] if place else cut_windows(heard, size, shortest))
            ]
            with torch.no_grad():
                arrays = [frontend(torch.from_numpy(w)[None])[0].numpy() for w in windows]
            with replacing(path) as unfinished:
                np.savez(unfinished, *arrays)
        variants.append(tuple(torch.from_numpy(array) for array in arrays))
    return variants


def heard_as(
    samples: NDArray[np.float32], rate: int, augment: Augment, *, key: str
) -> Iterator[NDArray[np.float32]]:
    """Yield a clip ``[T]`` at each speed: as it is, and so many times recorded anew.

    What is drawn depends on ``key``, hexadecimal digits, alone.
    """
    rng = np.random.default_rng(int(key, 16))
    for factor in (1.0, *augment.speeds):
        played = speed(samples, factor)
        yield played
        for _ in range(augment.recordings):
            anew = record_anew(played, rate, rng=rng)
            yield through_devices(anew, rate, rng=rng) if augment.devices else anew


def plan_updates(
    corpora: Sequence[str], optim: Optim, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return which clips each update of a run sees, ``[updates, B]``.

    The whole order is drawn at once, so that a run that resumes goes on as it would have.

    Args:
        corpora: what each clip is from.
        optim: how many, and in which order.
        rng: where chance comes from.
    """
    n_clips = len(corpora)
    size = min(optim.batch_size, n_clips)
    if optim.updates is not None:
        n_updates = optim.updates
    else:
        n_updates = (optim.epochs or 0) * (n_clips // size)
    n_draws = n_updates * size
    if optim.equal_corpora:
        _, of = np.unique(corpora, return_inverse=True)
        sides = [np.flatnonzero(of == corpus) for corpus in range(of.max() + 1)]
        rounds = -(-n_draws // len(sides))  # of one clip of each corpus
        turns = np.stack([_shuffled(side, rounds, rng) for side in sides], axis=1)
        return turns.ravel()[:n_draws].reshape(n_updates, size)
    if not optim.shuffle_buffer:
        return _shuffled(np.arange(n_clips), n_draws, rng).reshape(n_updates, size)
    passes = -(-(n_draws + optim.shuffle_buffer) // n_clips) + 1
    stream = np.tile(np.arange(n_clips), passes)
    buffer = stream[: optim.shuffle_buffer].copy()
    drawn = np.empty(n_draws, dtype=np.int64)
    for i, slot in enumerate(rng.integers(0, len(buffer), n_draws)):
        drawn[i] = buffer[slot]
        buffer[slot] = stream[len(buffer) + i]
    return drawn.reshape(n_updates, size)


def _shuffled(rows: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ``[n]`` of the rows: all of them, shuffled, again and again."""
    passes = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate(passes)[:n]


def draw_batch(
    clips: Clips, chosen: NDArray[np.int64], augment: Augment, n_frames: int | None,
    rng: np.random.Generator,
) -> Batch:  # fmt: skip
    """Assemble a training batch, varied as the recipe says.

    Args:
        clips: the training part.
        chosen: indices into it.
        augment: what is varied.
        n_frames: frames of the window, where clips are placed in one; else None.
        rng: where chance comes from.
    """
    sequences = []
    for index in chosen:
        options = clips.variants[index]
        sequences.append(options[rng.integers(len(options))] if len(options) > 1 else options[0])
    if augment.place and n_frames is not None:
        features, lengths = _placed(sequences, n_frames, rng), None
    else:
        features, lengths = pad(sequences)
    if augment.mixstyle and rng.random() < augment.mixstyle:
        features = _borrow_style(features, lengths, rng)
    for row in features:
        _mask(row, augment.time_masks, augment.time_mask_frames, rng)
        _mask(row.T, augment.band_masks, augment.band_mask_bands, rng)
    partner = share = None
    if augment.mixup:
        partner = torch.from_numpy(rng.permutation(len(chosen)))
        drawn = rng.beta(augment.mixup, augment.mixup, len(chosen)).astype(np.float32)
        share = torch.from_numpy(np.maximum(drawn, 1 - drawn))
    taught = None if clips.taught is None else clips.taught.of(chosen)
    return Batch(
        features, lengths, clips.labels[chosen], clips.agreement[chosen], partner, share, taught
    )


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Stack ``[F, M]`` sequences; shorter ones get zeros at the end, and lengths are returned."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    if bool((lengths == lengths[0]).all()):
        return torch.stack(list(sequences)), None
    return nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


def _placed(sequences: Sequence[Tensor], n_frames: int, rng: np.random.Generator) -> Tensor:
    """Put each sequence at a random place in a window of zeros, or cut a random window of it."""
    features = torch.zeros(len(sequences), n_frames, sequences[0].shape[1])
    for row, sequence in zip(features, sequences, strict=True):
        room = n_frames - len(sequence)
        offset = int(rng.integers(0, abs(room) + 1))
        if room >= 0:
            row[offset : offset + len(sequence)] = sequence
        else:
            row[:] = sequence[offset : offset + n_frames]
    return features


def _borrow_style(features: Tensor, lengths: Tensor | None, rng: np.random.Generator) -> Tensor:
    r"""Give each clip some of another's mean and deviation over time, band by band (Freq-MixStyle).

    .. math:: \tilde\sigma\,\frac{x - \mu}{\sigma} + \tilde\mu, \qquad
        \tilde\mu = \lambda \mu + (1 - \lambda) \mu', \quad
        \tilde\sigma = \lambda \sigma + (1 - \lambda) \sigma', \quad
        \lambda \sim \mathrm{Beta}(0.3, 0.3)

    Zhou et al., "Domain Generalization with MixStyle", ICLR 2021, along frequencies as by Kim et
    al., "Domain Generalization with Relaxed Instance Frequency-wise Normalization for Multi-device
    Acoustic Scene Classification", Interspeech 2022, and Schmid et al., "CP-JKU submission to
    DCASE22", 2022.

    Args:
        features: ``[B, F, M]``.
        lengths: ``[B]`` true frames, or None for all; zeros behind them stay zeros.
        rng: where chance comes from.
    """
    n = len(features)
    partner = torch.from_numpy(rng.permutation(n))
    share = torch.from_numpy(rng.beta(MIXSTYLE_BETA, MIXSTYLE_BETA, n).astype(np.float32))
    share = share[:, None, None]
    frames = torch.arange(features.shape[1])[None, :, None]  # [1, F, 1]
    heard = torch.ones_like(frames) if lengths is None else frames < lengths[:, None, None]
    count = heard.sum(1, keepdim=True) if lengths is not None else features.shape[1]
    mean = (features * heard).sum(1, keepdim=True) / count  # [B, 1, M]
    centred = (features - mean) * heard
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    wanted = share * deviation + (1 - share) * deviation[partner]
    scale = torch.where(deviation > 1e-6, wanted / deviation.clamp(min=1e-6), 1.0)
    return (centred * scale + share * mean + (1 - share) * mean[partner]) * heard


def _mask(rows: Tensor, n_masks: int, widest: int, rng: np.random.Generator) -> None:
    """Set runs of rows to the mean of all values (SpecAugment; Park et al., Interspeech 2019)."""
    for _ in range(n_masks):
        width = int(rng.integers(0, widest + 1))
        start = int(rng.integers(0, max(1, len(rows) - width)))
        rows[start : start + width] = rows.mean()

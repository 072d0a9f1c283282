"""What a trained model says of itself: ``card.json``, beside its weights.

A model folder is all that training and recognising share::

    model.onnx            "samples" float32 [batch, time] -> "probabilities" float32 [batch, C]
                          and "embedding" [batch, P], where the model can be adapted to voices: it
                          then takes "embedding_mean" and "embedding_std" [P], which may be left out
    card.json             this card
    weights.safetensors   the trained tensors, for those who go on training
    golden.flac           a clip ...
    golden.json           ... and the probabilities that the model gave for it
    heard.bin             digests of the clips that it was trained on
    NAME.py               the network, where it is somebody's own; nothing here runs it

Standard library only, so that whoever reads a card needs nothing else.
"""

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lightser.errors import BadModel
from lightser.whole import write_whole

FORMAT = 1
CARD = "card.json"
MODEL = "model.onnx"
WEIGHTS = "weights.safetensors"
GOLDEN_CLIP = "golden.flac"
GOLDEN_ANSWER = "golden.json"
HEARD = "heard.bin"
# What the graph takes and gives.
INPUT, OUTPUT = "samples", "probabilities"
EMBEDDING, EMBEDDING_MEAN, EMBEDDING_STD = "embedding", "embedding_mean", "embedding_std"
# Windows that the mean and the variance of training count as, beside those of a voice.
MEAN_COUNTS, VARIANCE_COUNTS = 1.0, 5.0
REQUIRED_FILES = (MODEL, GOLDEN_CLIP, GOLDEN_ANSWER)
NOTABLE_LOSS = 0.1  # of UA, in a narrower band
OTHER_CORPUS, LEFT_OUT_CORPUS = "other corpus", "loco"  # protocols that test on an unheard corpus

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """One corpus whose utterances the weights have seen, and on what terms.

    Attributes:
        corpus: its name here, such as "emodb".
        title: as its authors call it.
        license: SPDX identifier or the publisher's words.
        url: the publisher's page.
        utterances: how many were trained on.
        speakers: how many people speak in them.
        language: ISO 639-1 code, "" if mixed.
    """

    corpus: str
    title: str
    license: str
    url: str
    utterances: int
    speakers: int
    language: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well this way of training did on voices that were held out.

    Attributes:
        corpus: where it was measured.
        protocol: how utterances were split, such as "loso".
        protocol_note: one sentence on what that protocol means.
        selected_on: what the epoch was chosen by: "valid_ua", "test_wa" or "last".
        ua: unweighted average recall, 0 to 1, pooled over folds.
        wa: accuracy, 0 to 1, pooled.
        macro_f1: 0 to 1, pooled.
        ua_interval: 95 % interval of ``ua``.
        interval: over what it was resampled: "speakers" or "utterances".
        seeds: of the runs behind it.
        recipe: path of the recipe; the title of the results, where no recipe made them.
        commit: that it was run at.
        n_utterances: how many were tested.
        labels: that it chose from; none if from all of the model's.
    """

    corpus: str
    protocol: str
    protocol_note: str
    selected_on: str
    ua: float
    wa: float
    macro_f1: float
    ua_interval: tuple[float, float]
    interval: str
    seeds: tuple[int, ...]
    recipe: str
    commit: str
    n_utterances: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Band:
    """How well it does on clips brought to a lower sample rate, beside the same clips as they were.

    Attributes:
        sample_rate: hertz that they were brought to; 8,000 is the band of a telephone.
        corpus: whose clips they are.
        heard: whether the weights were trained on these clips: then both figures flatter, and only
            what lies between them counts.
        ua: unweighted average recall of the clips brought down, 0 to 1.
        ua_recorded: of the clips as they were recorded.
        n_utterances: how many clips.
    """

    sample_rate: int
    corpus: str
    heard: bool
    ua: float
    ua_recorded: float
    n_utterances: int

    @property
    def is_weak(self) -> bool:
        """Whether so much is lost that who has such a recording must know."""
        return self.ua_recorded - self.ua > NOTABLE_LOSS


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """By what a file of the folder is recognised as the one that was written."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """The facts of a model folder.

    Attributes:
        name: of the model, also its folder's name.
        system: the network's name, such as "light_sernet".
        labels: in the order of the model's outputs.
        sample_rate: hertz, of the waveform that the model takes.
        window_s: longest stretch to give the model at once; longer clips are cut into windows of
            this length, and the probabilities averaged.
        min_s: shortest stretch that the model takes; shorter ones are padded with zeros on both
            sides to this length, the odd sample at the end.
        trained_on: the corpora, with licences.
        license: of the weights.
        scores: on held-out voices; never the training score.
        recipe: path of the recipe that trained it.
        commit: that it was trained at.
        seed: that it was trained with.
        parameters: how many are trained.
        files: name to facts, of every file but the card.
        temperature: by which the graph divides its logits before the softmax, fitted on held-out
            voices, so that a confidence of 0.8 is right about 8 times in 10; 1 is uncalibrated.
        intended_use: what it is good for.
        limits: what it must not be trusted with.
        created: date, ISO 8601.
        bands: how well it does below its sample rate, as far as that was measured.
        format: of the card; another number cannot be read by this version.
    """

    name: str
    system: str
    labels: tuple[str, ...]
    sample_rate: int
    window_s: float
    min_s: float
    trained_on: tuple[TrainedOn, ...]
    license: str
    scores: tuple[Score, ...]
    recipe: str
    commit: str
    seed: int
    parameters: int
    files: dict[str, FileFacts]
    temperature: float
    intended_use: str
    limits: str
    created: str
    bands: tuple[Band, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        for ok, complaint in (
            (len(self.labels) >= 2, f"labels: at least two are needed, got {len(self.labels)}"),
            (all(self.labels), "labels: one is empty"),
            (len(set(self.labels)) == len(self.labels), "labels: one is there twice"),
            (self.sample_rate > 0, f"sample_rate: {self.sample_rate} is not above 0"),
            (self.min_s > 0, f"min_s: {self.min_s} is not above 0"),
            (
                self.window_s >= self.min_s,
                f"window_s: {self.window_s} is shorter than min_s, {self.min_s}",
            ),
            (self.temperature > 0, f"temperature: {self.temperature} is not above 0"),
        ):
            if not ok:
                raise BadModel(f"Card of '{self.name}': {complaint}.")
        for name in self.files:
            # A card comes with a download: it must not name files outside its own folder.
            if not name or name in (".", "..", CARD) or re.search(r"[/\\:\0]", name):
                raise BadModel(f"Card of '{self.name}': files: '{name}' is not a plain file name.")
        for name in REQUIRED_FILES:
            if name not in self.files:
                raise BadModel(f"Card of '{self.name}': files: '{name}' is missing.")

    @property
    def size(self) -> int:
        """Bytes of the whole folder without the card."""
        return sum(facts.bytes for facts in self.files.values())

    @property
    def elsewhere(self) -> tuple[Score, ...]:
        """Scores on corpora of which the tested weights had heard nothing, one for each corpus."""
        left_out = [score for score in self.scores if score.protocol == LEFT_OUT_CORPUS]
        others = [score for score in self.scores if score.protocol == OTHER_CORPUS]
        return (*left_out[1:], *others)  # the first is of all that were left out, pooled

    def weak_at(self, sample_rate: int) -> Band | None:
        """Return what was measured in the band of a recording, if the model is weak there.

        That is the band of the lowest rate measured that is not below the recording's; of one
        between the highest of these and the model's own rate, nothing is known.
        """
        above = [band for band in self.bands if sample_rate <= band.sample_rate < self.sample_rate]
        band = min(above, key=lambda band: band.sample_rate, default=None)
        return band if band and band.is_weak else None


def file_facts(path: Path) -> FileFacts:
    """Return size and SHA-256 of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return FileFacts(sha256=digest.hexdigest(), bytes=size)


def read_card(folder: Path | str) -> Card:
    """Return the card of a model folder.

    Keys that this version does not know are passed over, so that a later one can add some.

    Raises:
        BadModel: there is no folder or card, it is of another format, or a value is missing or of
            the wrong kind.
    """
    folder = Path(folder)
    path = folder / CARD
    if folder.is_file():
        raise BadModel(f"'{folder}' is a file; give the model folder around it, '{folder.parent}'.")
    if not folder.is_dir():
        raise BadModel(f"There is no model folder '{folder}'.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadModel(f"'{folder}' is no model folder: it has no {CARD}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"'{path}' cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise BadModel(f"'{path}' holds no card: expected an object, got {_kind(data)}.")
    if data.get("format") != FORMAT:
        raise BadModel(
            f"'{path}' has format {data.get('format')!r}; this version of lightser reads {FORMAT}."
        )
    return _build(Card, data, where=f"'{path}'")


def write_card(folder: Path | str, card: Card) -> None:
    """Write ``card.json``, whole or not at all.

    Raises:
        LightserError: the folder cannot be written to.
    """
    text = json.dumps(dataclasses.asdict(card), indent=2, ensure_ascii=False) + "\n"
    write_whole(Path(folder) / CARD, text)


def verify_files(folder: Path | str, card: Card) -> None:
    """Check that every file of the folder is byte for byte what the card says.

    Raises:
        BadModel: a file is missing, cut short or changed, or we may not read it.
    """
    for name, expected in card.files.items():
        path = Path(folder) / name
        try:
            found = file_facts(path)
        except PermissionError:
            who = f"user {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
            raise BadModel(
                f"'{path}' may not be read by {who}; its owner lets everybody read the folder "
                f"with: chmod -R a+rX '{folder}'"
            ) from None
        except OSError as error:
            reason = "is missing" if not path.exists() else f"cannot be read: {error}"
            raise BadModel(f"'{path}' {reason}; copy the model folder again, whole.") from None
        if found.bytes != expected.bytes:
            raise BadModel(
                f"'{path}' has {found.bytes} bytes, its card says {expected.bytes}; "
                "copy the model folder again, whole."
            )
        if found.sha256 != expected.sha256:
            raise BadModel(
                f"'{path}' was changed since its card was written: SHA-256 {found.sha256[:12]}…, "
                f"the card says {expected.sha256[:12]}…."
            )


def _build(cls: type[T], data: dict[str, Any], *, where: str) -> T:
    """Return a dataclass out of a JSON object, or raise with the key that is wrong."""
    hints = get_type_hints(cls)
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]  # T is one of the dataclasses above
        if field.name not in data:
            if field.default is not dataclasses.MISSING:
                continue  # what the first cards could not say
            raise BadModel(f"{where}: '{field.name}' is missing.")
        values[field.name] = _convert(hints[field.name], data[field.name], f"{where}: {field.name}")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return a JSON value as what a field is declared to be."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise BadModel(f"{where}: expected an object, got {_kind(value)}.")
        return _build(hint, value, where=where)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise BadModel(f"{where}: expected an object, got {_kind(value)}.")
        of = get_args(hint)[1]
        return {key: _convert(of, item, f"{where}.{key}") for key, item in value.items()}
    if get_origin(hint) is tuple:
        of, *rest = get_args(hint)
        if not isinstance(value, list):
            raise BadModel(f"{where}: expected a list, got {_kind(value)}.")
        if rest != [...] and len(value) != 1 + len(rest):
            raise BadModel(f"{where}: expected {1 + len(rest)} values, got {len(value)}.")
        return tuple(_convert(of, item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)  # JSON writers drop the ".0" of a whole number
    if type(value) is not hint or value != value or value in (float("inf"), float("-inf")):
        raise BadModel(f"{where}: expected {_WORDS[hint]}, got {value!r}.")
    return value


_WORDS = {str: "a text", int: "a whole number", float: "a finite number", bool: "true or false"}


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else repr(value)

"""A job: one recipe on one fold from one seed, a pure function of its inputs that writes its files.

A job's folder holds ``predictions.csv`` and ``history.csv`` when it is done, and before that a
checkpoint and ``progress.json``.
"""

import csv
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightser.card import WEIGHTS
from lightser.corpora.splits import CONTENT, Fold
from lightser.errors import BadRecipe, LightserError
from lightser.features.pretrained import Pretrained
from lightser.losses import LOSSES
from lightser.losses.sample_loss import SampleLoss, class_weights
from lightser.models.segments import SegmentNetwork
from lightser.training import classic
from lightser.training.allocator import keep_freed_memory
from lightser.training.batches import FEATURES_VERSION, Clips, features_of
from lightser.training.checkpoint import drop_checkpoint
from lightser.training.embedding import fit_embedding
from lightser.training.initial import Initial
from lightser.training.lessons import Answers, side_task
from lightser.training.loop import Point, Run, drive, predict, training_run
from lightser.training.precision import precision_of
from lightser.training.recipe import Recipe
from lightser.training.system import System
from lightser.training.teacher import Teaching, leave_out, teacher_features
from lightser.whole import held, write_whole

LOCK = "lock"  # held by the process that is at the job
_DIGEST = "job.sha256"
_TOLD = ("label", "speaker", "corpus", "agreement", CONTENT)  # of an utterance, to training

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run needs, and where it leaves what it finds.

    Attributes:
        recipe: what to do.
        labels: classes, in the order of the probabilities.
        table: utterances of all parts of the fold.
        fold: who is in which part.
        seed: of weights, order and variations.
        select: how the epoch is chosen.
        folder: where the job writes.
        cache: where features are kept.
        initial: the model that the network begins from, if not afresh.
        pretrained: SHA-256 of the weights of a front end that was learned elsewhere.
        teaching: the teacher, if the recipe has one.
        device: a PyTorch device.
        tensorboard: whether curves are also written for TensorBoard.
        commit: of the code that asks for it.
    """

    recipe: Recipe
    labels: tuple[str, ...]
    table: pd.DataFrame
    fold: Fold
    seed: int
    select: str
    folder: Path
    cache: Path
    initial: Initial | None = None
    pretrained: str | None = None
    teaching: Teaching | None = None
    device: str = "cpu"
    tensorboard: bool = False
    commit: str = ""

    @property
    def name(self) -> str:
        """Fold and seed, as the folder is called."""
        return f"{self.fold.name}-seed{self.seed}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that makes the job's numbers: recipe, features, what is in which part."""
        fold = [self.fold.train, self.fold.valid, self.fold.test]
        told = [column for column in _TOLD if column in self.table]
        rows = self.table.set_index("utterance")[told].astype(str)
        heard = rows.loc[[name for part in fold for name in part]].to_numpy().tolist()
        facts = [self.recipe.sha256(), self.labels, fold, self.seed, self.select, heard]
        facts.append(FEATURES_VERSION)
        if self.initial is not None:
            facts.append(self.initial.facts)
        if self.pretrained is not None:
            facts.append(self.pretrained)
        if self.teaching is not None:
            facts.append(self.teaching.facts)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has finished it; where nobody is tested, it leaves weights."""
        last = "predictions.csv" if self.fold.test else WEIGHTS
        return (self.folder / last).is_file()


def check_device(name: str) -> None:
    """Refuse a device that PyTorch does not have here.

    Raises:
        BadRecipe: with the name.
    """
    try:
        kind = torch.device(name).type
    except RuntimeError:
        raise BadRecipe(f"No device '{name}'; give cpu or cuda") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise BadRecipe(f"PyTorch finds no device '{name}' here; give cpu")


def cache_folder() -> Path:
    """Return where features are kept: ``LIGHTSER_CACHE``, or below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("LIGHTSER_CACHE", f"{base}/lightser")).expanduser() / "features"


def refuse_other_job(job: Job) -> None:
    """Never go on with what another recipe, or other folds, have begun in the job's folder.

    Raises:
        BadRecipe: something of the kind is there.
    """
    path = job.folder / _DIGEST
    begun = path.read_text(encoding="utf-8") if path.is_file() else None
    if begun not in (None, job.digest):
        raise BadRecipe(
            f"{job.folder} was begun with another version of this recipe or of its corpus; remove "
            "that folder to start over, or give another --out"
        )


def run_job(job: Job) -> Path:
    """Train, predict the test part, write both tables, and return the job's folder.

    Where another process is at it, wait for it to end, and go on from its last checkpoint if it
    ended too early.
    """
    keep_freed_memory()
    torch.set_num_threads(1)  # folds run side by side; one job on two threads is slower than two
    drive(job_run(job), job.recipe.optim, job.device)
    return job.folder


def job_run(job: Job) -> Run:
    """Do all of a job but the gradients, which it asks for; see :func:`training_run`."""
    job.folder.mkdir(parents=True, exist_ok=True)

    def say_so() -> None:
        log.warning("%s: another process is at it; waiting for that to end", job.name)

    with held(job.folder / LOCK, wait=True, waits=say_so):
        refuse_other_job(job)
        if job.is_done or _is_collected(job):  # by whoever held it
            return []
        write_whole(job.folder / _DIGEST, job.digest)
        if job.recipe.is_classic:
            run_classic(job)
            return []
        return (yield from _training_run(job))


def _is_collected(job: Job) -> bool:
    """Whether the results hold it already; then what its folder held may be gone."""
    path = job.folder.parent.parent / "predictions.csv"
    return path.is_file() and job.name in run_names(read_strings(path))


def read_strings(path: Path) -> pd.DataFrame:
    """Return a table as the strings that are in it; speaker "NA" is a name."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def run_names(table: pd.DataFrame) -> set[str]:
    """Return the names of the jobs that a table of predictions holds."""
    return set(table["fold"] + "-seed" + table["seed"])


def _training_run(job: Job) -> Run:
    taught = ask_teacher(job)
    system, train, parts = prepare(job)
    if taught is not None:
        train = replace(train, taught=taught)
        system.side_task = side_task(system, taught)
    checkpoint = job.folder / "checkpoint"
    watch = tensorboard_writer(job) if job.tensorboard else lambda point: None

    def report(point: Point, total: int, seconds: float) -> None:
        watch(point)
        precision = precision_of(job.recipe.optim, job.device)
        tell(job, {**asdict(point), "updates": total, "seconds": seconds, "precision": precision})

    history = yield from training_run(
        system,
        make_loss(job, train),
        train=as_examples(train, system),
        valid=parts["valid"],
        test=parts["test"] if job.select == "test_wa" else None,
        recipe=job.recipe,
        select=job.select,
        seed=job.seed,
        folder=checkpoint,
        device=job.device,
        progress=report,
    )
    system.side_task = None
    fit_decision(system, train, parts["valid"])
    if system.embedding is not None:  # else nobody needs the features as they are in evaluation
        fit_embedding(system, windows_of(job, system))
    write_history(job, history)
    system.save(job.folder / WEIGHTS)
    if parts["test"] is not None:
        probabilities = predict(system, parts["test"], job.device)
        write_predictions(job, parts["test"].utterances, probabilities)
    drop_checkpoint(checkpoint)  # not before: a disk may be full, and hours have been trained
    return history


def ask_teacher(job: Job) -> Answers | None:
    """Return what the recipe's teacher says of the training part, in the order of the table.

    Its own trainings are jobs below the job's folder, which resume as any.

    Raises:
        BadRecipe: the training part has fewer than three speakers.
    """
    if job.teaching is None or job.recipe.teacher is None:
        return None
    how, teaching = job.recipe.teacher, job.teaching
    rows = job.table[job.table["utterance"].isin(job.fold.train)]
    answers = []
    for fold in leave_out(rows, how.groups, seed=job.seed):
        part = replace(
            job,
            recipe=teaching.recipe,
            fold=fold,
            select="last",
            folder=job.folder / fold.name,
            initial=None,
            pretrained=teaching.pretrained,
            teaching=None,
            tensorboard=False,
        )
        drive(job_run(part), part.recipe.optim, part.device)
        answers.append(pd.read_csv(part.folder / "predictions.csv").set_index("utterance"))
    columns = [f"p_{label}" for label in job.labels]
    said = pd.concat(answers).loc[rows["utterance"], columns].to_numpy(dtype=np.float32)
    features = torch.empty(len(rows), 0)
    if how.features:
        frontend = build_system(teaching.recipe, len(job.labels)).frontend
        if isinstance(frontend, Pretrained):
            frontend.read_weights()
        features = teacher_features(rows, teaching, frontend, cache=job.cache)
    return Answers(torch.from_numpy(said), features, how)


def run_classic(job: Job) -> None:
    """Do a job in which nothing is trained by gradient."""
    began, told = time.monotonic(), 0.0
    state: dict[str, Any] = {"what": "functionals"}

    def report(done: int, of: int) -> None:
        nonlocal told
        state.update(update=done, updates=of, seconds=time.monotonic() - began)
        if state["seconds"] > told + 1:
            told = state["seconds"]
            tell(job, state)

    settings = classic.Settings.of(job.recipe)
    decided = classic.decide(
        settings, job.labels, job.table, job.fold, cache=job.cache.parent, progress=report
    )
    tell(job, {**state, "seconds": time.monotonic() - began, "cost": decided.cost})
    write_history(job, [])
    write_predictions(job, decided.utterances, decided.probabilities)


def tell(job: Job, facts: dict[str, Any]) -> None:
    """Write how far a job is, with every commit and precision that has been at it."""
    path = job.folder / "progress.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    facts = {**facts, "commit": job.commit}
    for name in {"commit", "precision"} & facts.keys():
        all_of_them = [*before.get(name, "").split(", "), facts[name]]
        facts[name] = ", ".join(dict.fromkeys(filter(None, all_of_them)))
    write_whole(path, json.dumps(facts))


def prepare(job: Job) -> tuple[System, Clips, dict[str, Clips | None]]:
    """Return the untrained system, standardised on the training part, and the parts' features."""
    torch.manual_seed(job.seed)  # initial weights
    system = build_system(job.recipe, len(job.labels))
    if job.initial is not None:
        job.initial.give_to(system, job.labels)
    elif isinstance(system.frontend, Pretrained):
        system.frontend.read_weights()
        if system.frontend.sha256() != job.pretrained:
            raise BadRecipe(
                f"the weights of {system.frontend.source} are no longer those of before"
            )
    if job.recipe.optim.kernel_penalty and not hasattr(system.network, "penalized"):
        raise BadRecipe(
            f"optim.kernel_penalty is for networks that say which kernels it is on, and "
            f"'{job.recipe.model.name}' does not; leave it out, or take weight_decay"
        )
    if job.recipe.augment.speeds and isinstance(system.network, SegmentNetwork):
        # a faster clip has fewer segments, and none of them is a variant of another's
        raise BadRecipe(f"'{job.recipe.model.name}' hears segments; leave out augment.speeds")
    rows = {
        part: job.table[job.table["utterance"].isin(getattr(job.fold, part))]
        for part in ("train", "valid", "test")
    }
    parts = {
        part: None if of.empty else make_clips(job, of, system, part == "train")
        for part, of in rows.items()
    }
    train = parts.pop("train")
    if train is None:
        raise LightserError(f"Fold '{job.fold.name}' has no training utterances")
    if job.recipe.standardize:
        recorded = tuple(clip[:1] for clip in train.variants)
        if job.recipe.window_s is not None and not job.recipe.augment.place:  # cut into windows
            recorded = make_clips(job, rows["train"], system, training=False).variants
        system.standardize.fit(w for windows in recorded for w in windows)  # type: ignore[operator]
    return system, train, parts


def build_system(recipe: Recipe, n_classes: int) -> System:
    """Return the recipe's system with fresh weights.

    Raises:
        BadRecipe: there is no network in it, or its window is shorter than a sample.
    """
    refuse_classic(recipe)
    if recipe.code is not None:
        recipe.code.run()  # a process of its own does not know it yet
    system = System.build(
        (recipe.frontend.name, recipe.frontend.options),
        (recipe.model.name, recipe.model.options),
        n_classes,
        standardize=recipe.standardize,
    )
    if recipe.window_s is not None and round(recipe.window_s * system.sample_rate) < 1:
        raise BadRecipe(f"window_s must be a sample or more; {recipe.window_s:g} seconds are less")
    return system


def pretrained_sha256(recipe: Recipe, n_classes: int) -> str | None:
    """Return the digest of what the recipe's front end has learned elsewhere; None if it has not.

    Raises:
        BadModel: the weights are not there, or not what they should be.
    """
    if recipe.is_classic or recipe.init is not None:  # which brings them along
        return None
    frontend = build_system(recipe, n_classes).frontend
    if not isinstance(frontend, Pretrained):
        return None
    frontend.read_weights()
    return frontend.sha256()


def refuse_classic(recipe: Recipe) -> None:
    """Refuse a recipe without a network.

    Raises:
        BadRecipe: with what it is for.
    """
    if recipe.is_classic:
        raise BadRecipe(
            f"'{recipe.model.name}' is there to be compared with: lightser reproduce runs it, and "
            "there is no network in it to train for a model folder or to export"
        )


def parameter_count(recipe: Recipe, n_classes: int) -> int:
    """Return the number of numbers that training finds."""
    if recipe.is_classic:
        return classic.Settings.of(recipe).parameter_count(n_classes)
    return build_system(recipe, n_classes).parameter_count()


def make_clips(job: Job, rows: pd.DataFrame, system: System, training: bool) -> Clips:
    """Return the features and targets of rows of the table."""
    variants = features_of(rows, job.recipe, system.frontend, training=training, cache=job.cache)
    index = {label: i for i, label in enumerate(job.labels)}
    return Clips(
        utterances=tuple(rows["utterance"]),
        corpora=tuple(rows["corpus"]),
        labels=torch.tensor([index[label] for label in rows["label"]]),
        agreement=torch.tensor(rows["agreement"].to_numpy(dtype=np.float32)),
        variants=tuple(variants),
    )


def as_examples(train: Clips, system: System) -> Clips:
    """Return what one example of training is: a clip, or a segment for a network that hears those.

    See :class:`~lightser.models.segments.SegmentNetwork`; a segment has its clip's label.
    """
    if not isinstance(system.network, SegmentNetwork):
        return train
    n = system.network.segment_frames
    pieces = [
        tuple(zip(*(torch.split(v, n) for v in variants), strict=True))
        for variants in train.variants
    ]
    owners = torch.tensor([i for i, clip in enumerate(pieces) for _ in clip])
    return Clips(
        utterances=tuple(train.utterances[i] for i in owners),
        corpora=tuple(train.corpora[i] for i in owners),
        labels=train.labels[owners],
        agreement=train.agreement[owners],
        variants=tuple(piece for clip in pieces for piece in clip),
    )


def windows_of(job: Job, system: System) -> list[Tensor]:
    """Return features ``[F, M]`` of the training part, cut as in evaluation."""
    rows = job.table[job.table["utterance"].isin(job.fold.train)]
    clips = make_clips(job, rows, system, training=False)
    return [window for windows in clips.variants for window in windows]


@torch.no_grad()
def fit_decision(system: System, train: Clips, valid: Clips | None) -> None:
    """Fit what a network decides a clip with after its segments, if it has such a thing."""
    if not hasattr(system.network, "fit_decision"):
        return
    device = system.temperature.device

    def standardized(clips: Clips) -> list[tuple[Tensor, int]]:
        return [
            (system.standardize(variant[None].to(device))[0], int(label))
            for variants, label in zip(clips.variants, clips.labels, strict=True)
            for variant in variants
        ]

    system.network.fit_decision(standardized(train), [] if valid is None else standardized(valid))  # type: ignore[operator]


def make_loss(job: Job, train: Clips) -> SampleLoss:
    """Return the recipe's loss; class weights come from the training part alone."""
    weights = None
    if job.recipe.loss.class_weights:
        weights = class_weights(torch.bincount(train.labels, minlength=len(job.labels)).float())
    loss = LOSSES[job.recipe.loss.name](weights, **job.recipe.loss.options)
    if not isinstance(loss, SampleLoss):
        raise BadRecipe(
            f"Loss '{job.recipe.loss.name}' is no SampleLoss: let it extend the one of "
            "lightser.losses.sample_loss and write per_sample"
        )
    return loss.to(job.device)


def write_predictions(
    job: Job, utterances: Sequence[str], probabilities: np.ndarray[Any, Any]
) -> None:
    """Write the predictions table of the test part; its being there means the job is done."""
    rows = job.table.set_index("utterance").loc[list(utterances)]
    predictions = pd.DataFrame(
        {
            "utterance": utterances,
            "corpus": rows["corpus"].to_numpy(),
            "speaker": rows["speaker"].to_numpy(),
            "fold": job.fold.name,
            "seed": job.seed,
            "truth": rows["label"].to_numpy(),
            "predicted": [job.labels[i] for i in probabilities.argmax(axis=1)],
        }
    )
    for i, label in enumerate(job.labels):
        predictions[f"p_{label}"] = [f"{p:.6f}" for p in probabilities[:, i]]
    write_whole(job.folder / "predictions.csv", predictions.to_csv(index=False))


def write_history(job: Job, history: list[Point]) -> None:
    """Write what every evaluation saw; columns nobody looked at stay empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fold", "seed", *(f.name for f in fields(Point))])
    for point in history:
        values = [f"{v:.6g}" if isinstance(v, float) else v for v in asdict(point).values()]
        writer.writerow([job.fold.name, job.seed, *values])
    write_whole(job.folder / "history.csv", text.getvalue())


def tensorboard_writer(job: Job) -> Callable[[Point], None]:
    """Return a function that writes evaluations for TensorBoard, beside the results."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(job.folder.parent.parent / "tensorboard" / job.name))

    def watch(point: Point) -> None:
        for name, value in asdict(point).items():
            if value is not None and name not in ("epoch", "update", "chosen"):
                writer.add_scalar(name, value, point.update)
        writer.flush()

    return watch

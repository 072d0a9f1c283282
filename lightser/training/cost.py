"""What jobs will cost, from a few real updates: to be said before anything is run."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lightser.corpora.splits import Fold
from lightser.memory import forget_peak, peak_bytes
from lightser.models.functionals_svm import FUNCTIONALS, FunctionalsSvm, functionals_of
from lightser.training import classic
from lightser.training.allocator import give_back_freed_memory, keep_freed_memory
from lightser.training.batches import draw_batch
from lightser.training.crossval import Plan, missing_jobs
from lightser.training.jobs import Job, as_examples, make_loss, prepare
from lightser.training.loop import batch_loss, make_optimizer, predict, window_frames

CLIPS = 96  # of which batches are drawn
UPDATES = 2  # timed, after one to warm up
CLASSIC_CLIPS, CLASSIC_ROWS = 8, 400  # of which the classic's parts are timed
CLASSIC_APART = 1.4  # deviations between the means of classes, about
PATIENCE_S = 20.0  # updates that take longer than this are not repeated
# What an update does not get slower by.
OTHER_KEYS = ("title", "system", "protocol", "seeds", "published")
OTHER_OPTIM = ("learning_rate", "epochs", "updates", "schedule", "evaluate_every", "evaluate_from")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds and memory of one process on this machine.

    Attributes:
        features: of one clip: reading it and computing its features, or finding them kept.
        update: of one update; for the classic, which has none, of one job.
        evaluation: of one clip.
        examples: examples of training in a clip; more than one where networks hear segments.
        updates: how many were timed.
        held: the most bytes that the process held, but for the features of all clips. Batches of
            different lengths fragment memory: a job of thousands may hold several times as much.
            NaN where the system does not tell, and for the classic, as few clips say little of all.
        held_by_clip: bytes of a clip's features.
    """

    features: float
    update: float
    evaluation: float
    examples: float
    updates: int
    held: float = math.nan
    held_by_clip: float = math.nan


def shape_of(plan: Plan) -> str:
    """Return what makes an update of a plan's jobs take the time it takes."""
    facts = {k: v for k, v in plan.recipe.to_dict().items() if k not in OTHER_KEYS}
    facts["optim"] = {k: v for k, v in facts.get("optim", {}).items() if k not in OTHER_OPTIM}
    return repr((facts, plan.jobs[0].device))


def time_updates(job: Job) -> Timing:
    """Take a few updates of a job on some of its clips, as it would, and leave nothing behind."""
    if job.recipe.is_classic:
        return _time_classic(job)
    keep_freed_memory()
    forget_peak()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng, n_clips = np.random.default_rng(0), len(job.fold.train)
    chosen = rng.permutation(np.array(job.fold.train))[:CLIPS]
    part = Fold(job.fold.name, train=tuple(map(str, chosen)), valid=(), test=())
    job = Job(**{**vars(job), "fold": part})
    start = time.perf_counter()
    system, clips, _ = prepare(job)
    features = (time.perf_counter() - start) / len(clips)
    train, optim = as_examples(clips, system), job.recipe.optim
    system.to(job.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss, optimizer = make_loss(job, train), make_optimizer(system, optim)
    n_frames = window_frames(system, job.recipe)
    size = min(optim.batch_size, n_clips * len(train) // len(clips))

    def drawn() -> NDArray[np.int64]:
        return rng.integers(0, len(train), size)

    def update(order: NDArray[np.int64]) -> None:
        batch = draw_batch(train, order, job.recipe.augment, n_frames, rng)
        value = batch_loss(system.train(), loss, batch, optim, job.device)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        value.item()  # a GPU has done it when it tells

    # The first is not counted. It hears the longest clip, to which others are padded, so that its
    # memory is that of a large batch.
    first = drawn()
    first[0] = max(range(len(train)), key=lambda i: len(train.variants[i][0]))
    seconds = [_seconds(lambda: update(first))]
    while len(seconds) <= UPDATES and sum(seconds) < PATIENCE_S:
        seconds.append(_seconds(lambda: update(drawn())))
    evaluation = _seconds(lambda: predict(system, clips, job.device)) / len(clips)
    torch.set_num_threads(threads)
    return Timing(
        features=features,
        update=float(np.median(seconds[1:] or seconds)),
        evaluation=evaluation,
        examples=len(train) / len(clips),
        updates=len(seconds[1:] or seconds),
        held=peak_bytes(),
        held_by_clip=sum(v.nbytes for of in clips.variants for v in of) / len(clips),
    )


def _time_classic(job: Job) -> Timing:
    """Compute the functionals of a few clips, and fit a machine to noise of a few hundred.

    Classes lie so far apart in it that about half of the answers are right, as on hard corpora:
    without that, a machine of few functionals takes five times as long. Its time grows with the
    square of the clips.
    """
    settings, n_classes = classic.Settings.of(job.recipe), len(job.labels)
    rows = job.table[:: max(1, len(job.table) // CLASSIC_CLIPS)]
    spans = list(rows["file"]), rows["start"], rows["end"]
    of_all = _seconds(lambda: functionals_of(settings.functionals, *spans, cache=job.cache.parent))
    heard = job.table[job.table["utterance"].isin((*job.fold.train, *job.fold.valid))]
    n_speakers = heard["speaker"].nunique()
    n = min(len(heard), max(CLASSIC_ROWS, 2 * n_classes * n_speakers))
    turn = np.arange(n)
    rng, size = np.random.default_rng(0), FUNCTIONALS[settings.functionals].size
    centres = CLASSIC_APART / math.sqrt(size) * rng.normal(size=(n_classes, size))
    x = rng.normal(size=(n, size)) + centres[turn % n_classes]
    labels = (turn % n_classes).astype(str)
    speakers = (turn // n_classes % n_speakers).astype(str)
    of_rows = _seconds(lambda: FunctionalsSvm(settings.costs).fit(x, labels, speakers))
    return Timing(
        features=of_all / len(rows),
        update=of_rows * (len(heard) / n) ** 2,
        evaluation=0.0,
        examples=1.0,
        updates=1,
    )


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def minutes_of(job: Job, timing: Timing) -> float:
    """Return the minutes of a job, by the timing of its kind."""
    if job.recipe.is_classic:
        return timing.update / 60
    optim, fold = job.recipe.optim, job.fold
    n_examples = round(len(fold.train) * timing.examples)
    per_epoch = max(1, n_examples // min(optim.batch_size, n_examples))
    updates = optim.updates if optim.updates is not None else (optim.epochs or 0) * per_epoch
    evaluations = updates // (optim.evaluate_every or per_epoch) + 1
    watched = len(fold.valid) + (len(fold.test) if job.select == "test_wa" else 0)
    seconds = updates * timing.update + (evaluations * watched + len(fold.test)) * timing.evaluation
    return seconds / 60


def bytes_of(job: Job, timing: Timing) -> float:
    """Return the memory that the process of a job will hold at least, by the timing of its kind."""
    clips = {*job.fold.train, *job.fold.valid, *job.fold.test}
    return timing.held + timing.held_by_clip * len(clips)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What plans will take.

    Attributes:
        missing: by the name of the plan, jobs that are to be run.
        minutes: by the name of the plan, of one process.
        held: by the name of the plan, bytes that one process holds at least; NaN if unknown.
        kinds: how many kinds of updates there are.
        updates: how many of each were timed, at most.
    """

    missing: dict[str, int]
    minutes: dict[str, float]
    held: dict[str, float]
    kinds: int
    updates: int

    @property
    def total(self) -> float:
        """Minutes of one process in all."""
        return sum(self.minutes.values())

    @property
    def most_held(self) -> float:
        """Bytes of the process that holds most, of those that are known; NaN if none is."""
        return max((b for b in self.held.values() if not math.isnan(b)), default=math.nan)


def cost_of(plans: Iterable[Plan], told: Callable[[str], None] = lambda name: None) -> Cost:
    """Time each kind of update once, and return what the missing jobs of all plans will take.

    Args:
        plans: what is to be run.
        told: is told the name of a plan before its update is timed.
    """
    timings: dict[str, Timing] = {}
    counts: dict[str, int] = {}
    minutes: dict[str, float] = {}
    held: dict[str, float] = {}
    for plan in plans:
        missing = missing_jobs(plan)
        counts[plan.name], minutes[plan.name] = len(missing), 0.0
        if not missing:
            continue
        if (kind := shape_of(plan)) not in timings:
            told(plan.name)
            timings[kind] = time_updates(missing[0])
            give_back_freed_memory()  # who says the cost waits for hours for those who train
            minutes[plan.name] = len(plan.table) * timings[kind].features / 60  # once
        minutes[plan.name] += sum(minutes_of(job, timings[kind]) for job in missing)
        held[plan.name] = max(bytes_of(job, timings[kind]) for job in missing)
    updates = max((timing.updates for timing in timings.values()), default=0)
    return Cost(missing=counts, minutes=minutes, held=held, kinds=len(timings), updates=updates)


def duration(minutes: float) -> str:
    """Return minutes as people say them.

    >>> duration(0.4), duration(12.3), duration(150), duration(3000)
    ('1 min', '12 min', '2 h 30 min', '50 h')
    """
    whole = max(1, round(minutes))
    if whole < 60:
        return f"{whole} min"
    return f"{whole // 60} h {whole % 60} min" if whole < 600 else f"{round(whole / 60)} h"

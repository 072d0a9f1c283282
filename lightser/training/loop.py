"""The loop: one generator that trains one system on one fold, and reads from top to bottom."""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightser import metrics
from lightser.errors import BadRecipe
from lightser.losses.sample_loss import SampleLoss
from lightser.training.batches import Batch, Clips, draw_batch, pad, plan_updates
from lightser.training.checkpoint import State, load_checkpoint, save_checkpoint
from lightser.training.lessons import lesson_loss, watching
from lightser.training.precision import half_precision
from lightser.training.recipe import Optim, Recipe
from lightser.training.system import System

CHECKPOINT_EVERY_S = 60.0
LIGHT_SERNET_EPOCHS = 300


@dataclass
class Point:
    """One row of the history: what was known after an evaluation."""

    epoch: float
    update: int
    learning_rate: float
    train_loss: float
    valid_ua: float | None = None
    valid_wa: float | None = None
    test_ua: float | None = None
    test_wa: float | None = None
    chosen: int = 0


@dataclass(frozen=True)
class Task:
    """What a run asks for once in each update: the gradient of this batch's loss.

    It is asked with the generator of random numbers seeded for the update's dropout.
    """

    system: System
    loss: SampleLoss
    batch: Batch


Run = Generator[Task, float, list[Point]]  # asks with tasks, is sent losses, returns its history


def training_run(
    system: System,
    loss: SampleLoss,
    *,
    train: Clips,
    valid: Clips | None,
    test: Clips | None,
    recipe: Recipe,
    select: str,
    seed: int,
    folder: Path,
    device: str = "cpu",
    progress: Callable[[Point, int, float], None] = lambda point, total, seconds: None,
) -> Run:
    """Train ``system`` in place, leave it with the chosen weights, and return its history.

    Who drives this generator computes the gradients: of one run, as :func:`take_step` does, or of
    many at once.

    Args:
        system: the untrained module, its standardisation already fitted.
        loss: logits, labels and agreement to a number.
        train: what is learned from.
        valid: what the epoch is chosen on if ``select`` is ``"valid_ua"``; else only looked at.
        test: None, except where the protocol itself looks at the test part while training, as
            Light-SERNet's does. Then every epoch's test accuracy is in the history.
        recipe: see :class:`~lightser.training.recipe.Recipe`.
        select: ``"valid_ua"``, ``"test_wa"`` (first best) or ``"last"``.
        seed: of the order, the variations and the dropout. The initial weights are the caller's.
        folder: where checkpoints are; if one is there the run goes on from it, to the same result.
            The last one stays: the caller drops it when what the run is for has been written.
        device: a PyTorch device.
        progress: called after each evaluation with the point, the number of updates in all and
            the seconds so far.

    Raises:
        BadRecipe: the loss is no longer a number.
    """
    optim = recipe.optim
    system.to(device)
    system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast
    # set the order of all clips, and when to evaluate
    plan = plan_updates(train.corpora, optim, np.random.default_rng([seed, 0]))
    per_epoch = max(1, len(train) // plan.shape[1])
    every = optim.evaluate_every or per_epoch
    n_frames = window_frames(system, recipe)
    optimizer = make_optimizer(system, optim)
    average = {name: p.detach().clone() for name, p in system.state_dict().items()}
    best: State = {}
    history: list[Point] = []
    start, best_score, total_loss, n_seen, seconds = 0, -1.0, 0.0, 0, 0.0

    # go on where a run that was stopped has come to
    if stored := load_checkpoint(folder, system=system, optimizer=optimizer):
        facts, states = stored
        start, best_score, seconds = facts["update"], facts["best_score"], facts["seconds"]
        total_loss, n_seen = facts["total_loss"], facts["n_seen"]
        history = [Point(**point) for point in facts["history"]]
        best, average = states.get("best", {}), states.get("average", average)
        average = {name: tensor.to(device) for name, tensor in average.items()}
    began = saved = time.monotonic()
    before = seconds

    for update in range(start, len(plan)):
        # set the learning rate
        rate = learning_rate(update, len(plan), per_epoch, optim)
        for group in optimizer.param_groups:
            group["lr"] = rate

        # draw a batch; chance depends on seed and update alone, so that a resumed run repeats it
        system.train()
        torch.manual_seed(seed * 1_000_003 + update)  # dropout knows no generator of its own
        rng = np.random.default_rng([seed, 1, update])
        batch = draw_batch(train, plan[update], recipe.augment, n_frames, rng)

        # take a step
        optimizer.zero_grad(set_to_none=True)
        value = yield Task(system, loss, batch)
        if not math.isfinite(value):
            raise BadRecipe(
                f"training has diverged: the loss of update {update + 1} is {value}; lower "
                "optim.learning_rate, or set optim.clip_norm"
            )
        if optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(system.parameters(), optim.clip_norm)
        optimizer.step()
        if hasattr(system.network, "clip_latent"):
            with torch.no_grad():
                system.network.clip_latent()  # type: ignore[operator]  # binary weights have bounds
        update_average(average, system, optim.average, update)
        total_loss, n_seen = (
            total_loss + value * len(batch.labels),
            n_seen + len(batch.labels),
        )

        # evaluate, and keep the weights if they are the best so far
        if (update + 1) % every == 0 or update + 1 == len(plan):
            own = {name: tensor.clone() for name, tensor in system.state_dict().items()}
            system.load_state_dict(average)
            point = Point((update + 1) / per_epoch, update + 1, rate, total_loss / n_seen)
            point.valid_ua, point.valid_wa = scores(system, valid, device)
            point.test_ua, point.test_wa = scores(system, test, device)
            history.append(point)
            score = {"valid_ua": point.valid_ua, "test_wa": point.test_wa, "last": update}[select]
            counts = update + 1 >= optim.evaluate_from or update + 1 == len(plan)
            if score is None:
                raise ValueError(f"select is '{select}', but that part of the fold was not given")
            if counts and (score > best_score or not best):
                best_score = score
                best = {name: tensor.clone() for name, tensor in average.items()}
                for other in history:
                    other.chosen = int(other is point)
            system.load_state_dict(own)
            total_loss, n_seen = 0.0, 0
            progress(point, len(plan), before + time.monotonic() - began)

        # save now and then
        if time.monotonic() - saved > CHECKPOINT_EVERY_S:
            seconds = before + time.monotonic() - began
            facts = {
                "update": update + 1, "best_score": best_score, "seconds": seconds,
                "total_loss": total_loss, "n_seen": n_seen, "history": [asdict(p) for p in history],
            }  # fmt: skip
            extra = {"best": best} | ({"average": average} if optim.average else {})
            save_checkpoint(folder, facts=facts, system=system, optimizer=optimizer, extra=extra)
            saved = time.monotonic()

    system.load_state_dict(best)
    return history


def drive(run: Run, optim: Optim, device: str) -> list[Point]:
    """Give a run the gradients it asks for, one after another, and return its history."""
    answer = None
    while True:
        try:
            task = next(run) if answer is None else run.send(answer)
        except StopIteration as done:
            history: list[Point] = done.value
            return history
        answer = take_step(task, optim, device)


def take_step(task: Task, optim: Optim, device: str) -> float:
    """Leave the gradients of a task's loss in its system, and return the loss."""
    value = batch_loss(task.system, task.loss, task.batch, optim, device)
    value.backward()  # type: ignore[no-untyped-call]
    return value.item()


def batch_loss(system: System, loss: SampleLoss, batch: Batch, optim: Optim, device: str) -> Tensor:
    """Return the loss of a batch, the penalty on the network's kernels included."""
    lengths = None if batch.lengths is None else batch.lengths.to(device)
    taught, side_task = batch.taught, system.side_task
    if taught is None or side_task is None:
        with half_precision(optim, device):
            logits = system.logits(blended(batch, device), lengths).float()
        return loss_of_logits(system, loss, batch, logits, optim)
    with half_precision(optim, device), watching(system) as seen:
        logits = system.logits(blended(batch, device), lengths).float()
        told: Tensor = side_task.loss(seen[0], taught.to(device))  # type: ignore[operator]
    value = loss_of_logits(system, loss, batch, logits, optim)
    return value + taught.how.features * told


def blended(batch: Batch, device: str) -> Tensor:
    """Return the features ``[B, F, M]`` of a batch, each clip blended with its partner, if any."""
    features = batch.features.to(device)
    if batch.partner is None or batch.share is None:
        return features
    share = batch.share.to(device)[:, None, None]
    return share * features + (1 - share) * features[batch.partner]


def loss_of_logits(
    system: System, loss: SampleLoss, batch: Batch, logits: Tensor, optim: Optim
) -> Tensor:
    """Return the loss for the logits ``[B, C]`` of a batch, the penalty on kernels included."""
    device = logits.device
    labels, agreement = batch.labels.to(device), batch.agreement.to(device)
    shares = None
    if batch.partner is not None and batch.share is not None:
        # a blended clip is two, each with its label and its share of the blend
        logits = torch.cat([logits, logits])
        labels = torch.cat([labels, labels[batch.partner]])
        agreement = torch.cat([agreement, agreement[batch.partner]])
        share = batch.share.to(device)
        shares = torch.cat([share, 1 - share])
    value: Tensor = loss(logits, labels, agreement, shares)
    if batch.taught is not None:
        its = batch.taught.how.share
        lesson = lesson_loss(logits, batch.taught.to(str(device)))
        value = value * (1 - its) + lesson * its
    if optim.kernel_penalty:
        kernels = system.network.penalized()  # type: ignore[operator]
        value = value + optim.kernel_penalty * sum(kernel.square().sum() for kernel in kernels)
    return value


def learning_rate(update: int, n_updates: int, per_epoch: int, optim: Optim) -> float:
    """Return the learning rate of an update under the recipe's schedule."""
    peak = optim.learning_rate
    if optim.schedule == "one_cycle":
        rise = max(1, n_updates // 10)
        if update < rise:
            return peak * (update + 1) / rise
        return peak * 0.5 * (1 + math.cos(math.pi * (update - rise) / max(1, n_updates - rise)))
    if optim.schedule == "light_sernet":
        # of the published 300 epochs; a shorter run goes through the same drops
        epoch = update // per_epoch * LIGHT_SERNET_EPOCHS // max(1, n_updates // per_epoch)
        return float(peak * math.exp(-0.15 * max(0, (epoch - 40) // 20)))
    return peak


def make_optimizer(system: System, optim: Optim) -> torch.optim.Optimizer:
    """Return Adam, AdamW or NAdam; decay pulls at matrices and kernels, not at biases and norms."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}
    parameters = [p for p in system.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    make = cast(Callable[..., torch.optim.Optimizer], kinds[optim.name])
    return make(groups, lr=optim.learning_rate, betas=optim.betas, eps=optim.epsilon)


def update_average(average: State, system: System, decay: float, update: int) -> None:
    """Move the running average of the weights; a decay of 0 makes it the weights themselves."""
    decay = min(decay, (1 + update) / (10 + update))  # short memory at first
    for name, tensor in system.state_dict().items():
        if decay and tensor.is_floating_point():
            average[name].lerp_(tensor, 1 - decay)
        else:
            average[name].copy_(tensor)


def window_frames(system: System, recipe: Recipe) -> int | None:
    """Return the frames of the recipe's window, where clips are placed in one."""
    if not recipe.augment.place or recipe.window_s is None:
        return None
    if not getattr(system.frontend, "silence_is_zero", False):
        raise BadRecipe(
            f"augment.place puts clips between zeros, which are not silence to the front end "
            f"'{recipe.frontend.name}'; take relative_logmel, or do without it"
        )
    rate = int(system.frontend.sample_rate)  # type: ignore[arg-type]
    with torch.no_grad():
        return int(system.features(torch.zeros(1, round(recipe.window_s * rate))).shape[1])


@torch.no_grad()
def predict(system: System, clips: Clips, device: str, batch_size: int = 32) -> NDArray[np.float32]:
    """Return probabilities ``[N, C]``, averaged over each clip's windows.

    Windows of like length go together. A network that hears padding (``zhong2020`` with ``masked``
    false) hears less of it so than in the order of files, in which its authors evaluate.
    """
    system.eval()
    owners = [i for i, windows in enumerate(clips.variants) for _ in windows]
    windows = [window for windows in clips.variants for window in windows]
    probabilities = np.zeros((len(windows), system.n_classes), dtype=np.float32)
    for chosen, features, lengths in by_length(windows, device, batch_size):
        logits = system.logits(features, lengths)
        probabilities[chosen] = logits.softmax(dim=1).cpu().numpy()
    sums = np.zeros((len(clips), system.n_classes), dtype=np.float32)
    np.add.at(sums, owners, probabilities)
    return np.asarray(sums / sums.sum(axis=1, keepdims=True), dtype=np.float32)


def by_length(
    windows: Iterable[Tensor], device: str | torch.device, batch_size: int = 32
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor | None]]:
    """Yield batches of windows ``[F, M]`` of like length.

    Each is the indices of its windows, features ``[B, F, M]``, and lengths ``[B]`` where they vary.
    """
    windows = list(windows)
    order = np.argsort([len(window) for window in windows], kind="stable")
    for chosen in np.array_split(order, range(batch_size, len(order), batch_size)):
        features, lengths = pad([windows[i] for i in chosen])
        yield chosen, features.to(device), None if lengths is None else lengths.to(device)


def scores(
    system: System, clips: Clips | None, device: str
) -> tuple[float, float] | tuple[None, None]:
    """Return UA and WA on a part of the fold, or nothing where there is none."""
    if clips is None:
        return None, None
    predicted = predict(system, clips, device).argmax(axis=1)
    matrix = metrics.confusion(clips.labels.numpy(), predicted, system.n_classes)
    return metrics.ua(matrix), metrics.wa(matrix)

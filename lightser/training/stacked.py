"""The engine ``stacked``: the networks of many folds and seeds, computed as one batched network.

Networks of half a million parameters leave a GPU idle, which ten of them side by side should not.
On a processor, stacked convolutions are several times slower (``benchmarks/engines.md``). Each job
keeps its own order, chance, loss, optimiser, history and checkpoints, as under any other engine:
only forward and backward passes are shared, by :func:`torch.func.vmap` over the stacked weights.

Shapes: J jobs, B clips in a batch, F frames, M bands, C classes.
"""

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lightser.errors import BadRecipe
from lightser.models.lstm import BiLSTM
from lightser.models.masking import Stacked, like_lengths, silence_padding
from lightser.models.segments import SegmentNetwork
from lightser.training.allocator import keep_freed_memory
from lightser.training.engines import Progress, state_of
from lightser.training.jobs import Job, job_run
from lightser.training.loop import Run, Task, blended, loss_of_logits
from lightser.training.precision import half_precision, half_precision_in_stacks, precision_of
from lightser.training.system import System

Groups: TypeAlias = tuple[tuple[int, int], ...]

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}  # of the first logits, against one network alone


def over_stacks(jobs: Sequence[Job], workers: int, progress: Progress) -> Iterator[Job]:
    """Run jobs in stacks of ``workers`` and yield each when it is done.

    Raises:
        BadRecipe: the network cannot be computed in stacks, or not those of these clips.
    """
    keep_freed_memory()
    if jobs[0].device == "cpu":
        torch.set_num_threads(1)  # as the other engines
    waiting, stack = list(jobs), Stack(jobs[0])
    running: dict[str, tuple[Job, Run, Asked]] = {}

    def go_on(job: Job, run: Run, loss: float | None) -> bool:
        """Let a job come to its next batch; return whether it came to its end instead."""
        try:
            task = next(run) if loss is None else run.send(loss)
        except StopIteration:
            running.pop(job.name, None)
            return True
        running[job.name] = (job, run, stack.take(task))
        return False

    while waiting or running:
        while waiting and len(running) < workers:
            job = waiting.pop(0)
            if go_on(job, job_run(job), None):
                yield job
        members = list(running.values())
        losses = stack.step([asked for _, _, asked in members]) if members else []
        for (job, run, _), loss in zip(members, losses, strict=True):
            if go_on(job, run, loss):
                yield job
        progress({job.name: state for job, _, _ in running.values() if (state := state_of(job))})


class Logits(nn.Module):
    """What a system computes after its front end, ``[B, F, M]`` to ``[B, C]``."""

    def __init__(self, system: System):
        super().__init__()
        self.standardize, self.network = system.standardize, system.network
        self.is_told = "stacked" in inspect.signature(self.network.forward).parameters

    def forward(
        self,
        features: Tensor,
        lengths: Tensor | None = None,
        extents: Tensor | None = None,
        groups: Groups = (),
    ) -> Tensor:
        """Compute clips that are true up to their lengths ``[B]``; None is all of each.

        Extents and groups are those of :class:`~lightser.models.masking.Stacked`.
        """
        x = silence_padding(self.standardize(features)[:, None], lengths)[:, 0]
        told = () if extents is None or not self.is_told else (Stacked(extents, groups),)
        return self.network(x, lengths, *told)  # type: ignore[no-any-return]

    def may_be_padded_further(self) -> bool:
        """Return whether that leaves the logits as they are."""
        if isinstance(self.network, SegmentNetwork) or self.is_told:
            return True
        norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
        return not any(isinstance(module, norms) for module in self.modules())


class GivenDropout(nn.Module):
    """Dropout whose mask ``[B, ...]`` is given: each job's own chance, drawn before stacking."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


@dataclass(frozen=True)
class Asked:
    """A job's task, and what of it is stacked: weights, buffers and masks by name."""

    task: Task
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    masks: dict[str, Tensor]
    features: Tensor  # [B, F, M]
    alone: Tensor | None  # the logits [B, C] of this network alone, of the first tasks


class Stack:
    """Forward and backward passes of many systems at once.

    Args:
        job: one of those that will be stacked; they share its recipe and device.
    """

    def __init__(self, job: Job):
        self.optim, self.device = job.recipe.optim, job.device
        self.model = job.recipe.model.name
        self.template: nn.Module | None = None
        self.compared = False
        self.dropouts: dict[str, tuple[float, Tensor]] = {}  # share, and ones as its input

    def take(self, task: Task) -> Asked:
        """Take a task while its dropout's generator is seeded, and draw its masks."""
        features = blended(task.batch, self.device)
        part = Logits(task.system)
        alone = None if self.compared else self._alone(part, task, features)
        if len(features) != self.n_clips:
            raise BadRecipe(
                f"the engine 'stacked' needs batches of one size; those of this recipe "
                f"('{self.model}') differ: take --engine local"
            )
        if not part.may_be_padded_further() and (
            task.batch.lengths is not None or features.shape[1] != self.n_frames
        ):
            raise BadRecipe(
                f"the engine 'stacked' needs clips of one length for a network with norms over the "
                f"batch ('{self.model}'), as padding goes into them: take --engine local"
            )
        masks = {
            f"{name}.mask": nn.functional.dropout(ones, share)
            for name, (share, ones) in self.dropouts.items()
        }
        return Asked(
            task, dict(part.named_parameters()), dict(part.named_buffers()), masks, features, alone
        )

    def _alone(self, part: Logits, task: Task, features: Tensor) -> Tensor:
        """Compute a task alone, on a copy, to compare with, and see where dropout is."""
        alone = copy.deepcopy(part)

        def remember(name: str, share: float, x: Tensor) -> None:
            self.dropouts[name] = (share, torch.ones_like(x))

        for name, module in alone.named_modules():
            if isinstance(module, nn.Dropout):
                share = module.p
                module.register_forward_pre_hook(
                    lambda _, x, name=name, share=share: remember(name, share, x[0])
                )
        lengths = task.batch.lengths
        devices = [] if self.device == "cpu" else [torch.device(self.device)]
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices),
            half_precision(self.optim, self.device),
        ):
            logits = alone(features, None if lengths is None else lengths.to(self.device))
        if self.template is None:
            self._begin(part, features)
        return logits.float()  # type: ignore[no-any-return]

    def _begin(self, part: Logits, features: Tensor) -> None:
        """Make what is stacked: dropout is given, and recurrent layers go step by step."""
        self.n_clips, self.n_frames, _ = features.shape
        self.template = copy.deepcopy(part).train()
        for name, (_, ones) in self.dropouts.items():
            self.template.set_submodule(name, GivenDropout(ones))
        for module in self.template.modules():
            if isinstance(module, BiLSTM):
                module.unrolled = True

    def step(self, asked: Sequence[Asked]) -> list[float]:
        """Leave the gradient of each task's loss in its system, and return the losses."""

        def stacked(what: str) -> dict[str, Tensor]:
            names = getattr(asked[0], what)
            return {name: torch.stack([getattr(a, what)[name] for a in asked]) for name in names}

        buffers = stacked("buffers")
        state = {**stacked("weights"), **buffers, **stacked("masks")}
        logits = self._logits(state, *padded(asked))  # [J, B, C]
        if not self.compared:
            self._compare(asked, logits.detach())
        losses = [
            loss_of_logits(a.task.system, a.task.loss, a.task.batch, logits[j], self.optim)
            for j, a in enumerate(asked)
        ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, tensors in buffers.items():  # running statistics have moved
                for a, tensor in zip(asked, tensors, strict=True):
                    a.buffers[name].copy_(tensor)
        return [loss.item() for loss in losses]

    def _logits(
        self, state: dict[str, Tensor], inputs: tuple[Tensor, ...], groups: Groups
    ) -> Tensor:
        assert self.template is not None
        template = self.template

        def one(own: dict[str, Tensor], *x: Tensor) -> Tensor:
            with half_precision_in_stacks(self.optim, self.device):
                return functional_call(template, own, x, {"groups": groups})  # type: ignore[no-any-return]

        try:
            logits: Tensor = vmap(one)(state, *inputs)
        except (RuntimeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:150]
            raise BadRecipe(
                f"the network '{self.model}' cannot be computed in stacks: take --engine local "
                f"({reason})"
            ) from error
        return logits.float()

    def _compare(self, asked: Sequence[Asked], logits: Tensor) -> None:
        """Refuse a network that computes something else in a stack than alone."""
        alone = torch.stack([a.alone for a in asked if a.alone is not None])
        difference = float((logits - alone).abs().max())
        scale = max(1.0, float(alone.abs().max()))
        self.compared = True
        if not difference <= TOLERANCE[precision_of(self.optim, self.device)] * scale:
            raise BadRecipe(
                f"the network '{self.model}' computes something else in a stack than alone (its "
                f"first logits differ by {difference:.3g}): take --engine local"
            )


def padded(asked: Sequence[Asked]) -> tuple[tuple[Tensor, ...], Groups]:
    """Return what networks hear, and which clips of each batch go together by length.

    That is features ``[J, B, F, M]``, and where clips differ, lengths and extents ``[J, B]``.
    """
    features = [a.features for a in asked]
    extents = torch.tensor([x.shape[1] for x in features], device=features[0].device)
    if all(a.task.batch.lengths is None for a in asked) and bool((extents == extents[0]).all()):
        return (torch.stack(features),), ()
    longest = int(extents.max())
    stacked = torch.stack([nn.functional.pad(x, (0, 0, 0, longest - x.shape[1])) for x in features])
    extents = extents[:, None].expand(-1, stacked.shape[1])
    own = [
        extent if a.task.batch.lengths is None else a.task.batch.lengths.to(stacked.device)
        for a, extent in zip(asked, extents, strict=True)
    ]
    lengths = torch.stack(own)
    groups = like_lengths(lengths.sort(dim=1).values.amax(dim=0).tolist())
    return (stacked, lengths, extents), tuple(groups)

"""What a network does, operation by operation, without doing it: products, memory, what it sees.

The system runs on tensors that have a shape and no content (PyTorch's "meta" device), so a network
of any size is traced in a second or two.

Shapes: B clips, F frames, M bands.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightser.export.fold import storage_of
from lightser.export.receptive import Axis, Field
from lightser.training.system import System, pretrained_weights

# Operand that a product sums over, by operation.
PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training"}
POOLS = {"avg_pool2d", "max_pool2d_with_indices", "max_pool2d"}
# What a cell sees is not changed by joining, padding or copying cells.
LOCAL = {"cat", "constant_pad_nd", "clone", "copy", "copy_", "_to_copy", "stack", *NORMS}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation on data. Operations on weights alone are done once, and are not here.

    Attributes:
        layer: name of the innermost module that asks for it.
        operation: its name in PyTorch's ATen.
        shape: of what comes out.
        macs: multiplications with an addition.
        parameters: trainable numbers that take part here for the first time.
        field: what a cell of the output sees, or None if that has no bounds.
        reads: which pieces of memory are read.
        writes: pieces that come into being, and their numbers of elements.
        may_overwrite: whether element i of the result needs no more than element i of each input,
            so that it may take the place of one of them.
    """

    layer: str
    operation: str
    shape: tuple[int, ...]
    macs: int
    parameters: int
    field: Field | None
    reads: tuple[int, ...]
    writes: dict[int, int]
    may_overwrite: bool


@dataclass(frozen=True, kw_only=True)
class Trace:
    """All steps from samples to probabilities.

    Attributes:
        steps: in order.
        given: the piece of memory with the samples, and its number of elements.
        result: the piece of memory with the answer.
    """

    steps: tuple[Step, ...]
    given: tuple[int, int]
    result: int

    def live(self) -> list[int]:
        """Return how many elements must be in memory at once, for each step.

        A piece of memory is there from the step that writes it to the last one that reads it. An
        operation element by element takes the place of an input that is not needed again, as every
        runtime does it. Weights do not count, nor do an operation's own scratch pads.
        """
        last = {self.given[0]: -1, self.result: len(self.steps)}
        for i, step in enumerate(self.steps):
            for piece in step.reads:
                last[piece] = max(last.get(piece, -1), i)
        sizes = {self.given[0]: self.given[1]}  # what is in memory
        counts = []
        for i, step in enumerate(self.steps):
            dying = {piece for piece in sizes if last[piece] <= i}
            free = {piece for piece in dying if piece in step.reads and step.may_overwrite}
            for piece, size in step.writes.items():
                if piece not in last:
                    continue  # nobody ever asks for it
                if taken := next((p for p in free if sizes[p] == size), None):
                    free.remove(taken)
                    dying.remove(taken)
                    del sizes[taken]
                sizes[piece] = size
            counts.append(sum(sizes.values()))
            for piece in dying:
                del sizes[piece]
        return counts


def trace(system: System, n_samples: int) -> Trace:
    """Trace ``system``, as in evaluation, on one clip of ``n_samples``."""
    shadow = copy.deepcopy(system).to("meta").eval()
    recorder = _Recorder(shadow)
    samples = torch.zeros(1, n_samples, device="meta")
    recorder.now_live(samples)
    with _one_by_one(), torch.no_grad(), recorder:
        result = shadow(samples)
    return Trace(
        steps=tuple(recorder.steps),
        given=(storage_of(samples), samples.numel()),
        result=storage_of(result),
    )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Write down every operation that PyTorch dispatches while this is entered."""

    def __init__(self, system: System):
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.modules: list[str] = []  # entered and not left
        self.alive: list[Tensor] = []  # kept, or memory of one might be taken for another's
        self.live: set[int] = set()  # pieces that depend on the samples
        self.fields: dict[int, Field] = {}
        self.features: tuple[int, int] = (0, 0)  # frames, bands
        learned = (*system.parameters(), *pretrained_weights(system).values())
        self.parameters = {storage_of(tensor): tensor.numel() for tensor in learned}
        for name, module in system.named_modules():
            module.register_forward_pre_hook(
                lambda module, given, name=name: self.modules.append(name)
            )
            module.register_forward_hook(self._leave)

    def now_live(self, *tensors: Tensor) -> None:
        self.alive.extend(tensors)
        self.live.update(storage_of(tensor) for tensor in tensors)

    def _leave(self, module: nn.Module, given: Any, output: Tensor) -> None:
        if self.modules.pop() == "frontend":
            self.fields[storage_of(output)] = Field()  # a cell of the features sees itself
            self.features = (output.shape[1], output.shape[2])

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        reads = dict.fromkeys(storage_of(x) for x in inputs)
        self.alive.extend(outputs)
        if outputs and not self.live.isdisjoint(reads):
            self._note(operation, args, outputs, list(reads))
        elif outputs and (numbers := sum(self.parameters.pop(piece, 0) for piece in reads)):
            self.parameters[storage_of(outputs[0])] = numbers  # weights, made ready
        return result

    def _note(
        self,
        operation: Any,
        args: Any,
        outputs: Sequence[Tensor],
        reads: Sequence[int],
    ) -> None:
        name = operation.overloadpacket.__name__
        first = outputs[0]
        writes = {
            storage_of(x): x.untyped_storage().nbytes() // x.element_size()
            for x in outputs
            if storage_of(x) not in self.live
        }
        pointwise = torch.Tag.pointwise in operation.tags or name in NORMS
        is_view = not writes
        field = self._field(name, args, reads, keeps=pointwise or is_view or name in LOCAL)
        self.now_live(*outputs)
        if field is not None:
            self.fields[storage_of(first)] = field
        elif not is_view:
            self.fields.pop(storage_of(first), None)
        self.steps.append(
            Step(
                layer=self.modules[-1] if self.modules else "",
                operation=name,
                shape=tuple(first.shape),
                macs=_macs(name, args, first),
                parameters=sum(self.parameters.pop(piece, 0) for piece in reads),
                field=field,
                reads=tuple(piece for piece in reads if piece in self.live),
                writes=writes,
                may_overwrite=pointwise,
            )
        )

    def _field(self, name: str, args: Any, reads: Sequence[int], *, keeps: bool) -> Field | None:
        """Return what an output's cell sees, or None."""
        live = [piece for piece in reads if piece in self.live]
        seen = [self.fields.get(piece) for piece in live]
        fields = [field for field in seen if field is not None]
        if not fields or len(fields) < len(seen):
            return None
        widest = Field.union(fields)
        if name == "convolution" and args[1].ndim == 4:
            return widest.through(kernel=args[1].shape[2:], stride=args[3], dilation=args[5])
        if name == "convolution" and args[1].ndim == 3:
            return self._over_time(widest, args)
        if name in POOLS:
            return widest.through(kernel=args[1], stride=args[2] if len(args) > 2 else ())
        return widest if keeps else None

    def _over_time(self, field: Field, args: Any) -> Field | None:
        """Return what a cell sees behind a convolution of one dimension.

        It is over time, with the bands for channels; where that cannot be seen, None.
        """
        n_frames, n_bands = self.features
        is_first = field == Field()
        if is_first and (n_frames == n_bands or tuple(args[0].shape[1:]) != (n_bands, n_frames)):
            return None
        (size,), (stride,), (dilation,) = args[1].shape[2:], args[3], args[5]
        along = field.through(kernel=(size, 1), stride=(stride, 1), dilation=(dilation, 1))
        is_by_channel = args[8] == args[0].shape[1]
        if is_by_channel:
            return along
        return replace(along, bands=Axis(seen=n_bands)) if args[8] == 1 else None


def _macs(name: str, args: Any, output: Tensor) -> int:
    if name == "convolution":
        return output.numel() * int(args[1][0].numel())  # weights [out, in / groups, ...]
    if name in PRODUCTS:
        return output.numel() * int(args[PRODUCTS[name]].shape[-1])
    return 0


@contextlib.contextmanager
def _one_by_one() -> Iterator[None]:
    """Keep PyTorch from doing a transformer layer in one operation, which cannot be looked into."""
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)

"""A bidirectional GRU by the reference equations, its two directions sharing weights or not.

Cho et al. 2014, as in TensorFlow 1: the reset gate acts on the state *before* the recurrent
product, and there is one set of biases. PyTorch's own GRU resets after it and has two sets.

Shapes: B clips, F steps, S rows of all clips, N inputs, H units, D sets of weights (1 if shared,
else 2).
"""

import torch
from torch import Tensor, nn


@torch.library.custom_op("lightser::bigru", mutates_args=())
def bigru_op(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """Run the GRU as one operation, so that an exporter finds one node of free length."""
    return bigru_of_batch(x, kernel, recurrent, bias)


@bigru_op.register_fake
def _(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], 2 * recurrent.shape[1])


def bigru(
    rows: Tensor,
    kernel: Tensor,
    recurrent: Tensor,
    bias: Tensor,
    lengths: Tensor,
    n_steps: int,
    starts: Tensor | None = None,
) -> Tensor:
    r"""Return both directions' states of clips of any length, ``[S, N]`` to ``[B, F, 2H]``.

    .. math::
        r, z = \sigma(x W_{rz} + h U_{rz} + b_{rz}), \quad
        c = \tanh(x W_c + (r \odot h) U_c + b_c), \quad
        h' = z \odot h + (1 - z) \odot c

    Args:
        rows: the steps of all clips, one clip after another.
        kernel: ``[D, N, 3H]``, gates r, z, c.
        recurrent: ``[D, H, 3H]``.
        bias: ``[D, 3H]``.
        lengths: steps of each clip ``[B]``. States beyond them are zero.
        n_steps: F, the largest length or more.
        starts: the first row of each clip ``[B]``; None where there is no padding between them.
    """
    n_clips, n_units = len(lengths), recurrent.shape[1]
    clips = torch.arange(n_clips, device=rows.device)[:, None]
    steps = torch.arange(n_steps, device=rows.device)
    starts = (lengths.cumsum(0) - lengths if starts is None else starts)[:, None]
    ends, beyond = starts + lengths[:, None], steps >= lengths[:, None]

    # what each direction hears at each step; beyond a clip it goes on hearing its last row
    inputs = torch.einsum("sn,dnh->dsh", rows, kernel) + bias[:, None]  # [D, S, 3H]
    ahead = torch.minimum(starts + steps, ends - 1)  # [B, F]
    behind = torch.maximum(ends - 1 - steps, starts) + (len(kernel) - 1) * len(rows)
    heard = torch.stack([ahead.T, behind.T], dim=1).flatten()
    inputs = inputs.flatten(0, 1).index_select(0, heard)
    inputs = inputs.reshape(n_steps, 2, n_clips, -1)
    gates, candidates = inputs[..., : 2 * n_units], inputs[..., 2 * n_units :]
    recurrent = recurrent.expand(2, -1, -1)
    gate_kernel, candidate_kernel = recurrent[..., : 2 * n_units], recurrent[..., 2 * n_units :]

    h = inputs.new_zeros(2, n_clips, n_units)
    states = []
    for gate, candidate in zip(gates.unbind(0), candidates.unbind(0), strict=True):
        r, z = torch.sigmoid(torch.baddbmm(gate, h, gate_kernel)).chunk(2, dim=2)
        c = torch.tanh(torch.baddbmm(candidate, r * h, candidate_kernel))
        h = c + z * (h - c)
        states.append(h)

    # turn the backward direction round again
    turned = torch.where(beyond, steps, lengths[:, None] - 1 - steps)
    places = torch.stack([2 * steps * n_clips + clips, (2 * turned + 1) * n_clips + clips], dim=2)
    both = torch.cat(states).flatten(0, 1).index_select(0, places.flatten())
    return both.reshape(n_clips, n_steps, -1).masked_fill(beyond[..., None], 0.0)


def bigru_of_batch(
    x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Return ``[B, F, 2H]`` for clips ``[B, F, N]``, each true up to its length ``[B]``."""
    n_clips, n_steps, _ = x.shape
    starts = n_steps * torch.arange(n_clips, device=x.device)
    if lengths is None:
        lengths = torch.full_like(starts, n_steps)
    return bigru(x.flatten(0, 1), kernel, recurrent, bias, lengths, n_steps, starts)


class BiGRU(nn.Module):
    """See :func:`bigru`; Glorot-uniform weights, gate biases 1, candidate biases 0.

    Args:
        n_inputs: N.
        n_units: H, of each direction.
        shared: whether both directions use one set of weights (Zhong et al. 2020).
    """

    def __init__(self, n_inputs: int, n_units: int, *, shared: bool):
        super().__init__()
        sets = 1 if shared else 2
        self.kernel = nn.Parameter(torch.empty(sets, n_inputs, 3 * n_units))
        self.recurrent = nn.Parameter(torch.empty(sets, n_units, 3 * n_units))
        self.bias = nn.Parameter(torch.zeros(sets, 3 * n_units))
        with torch.no_grad():
            # The reference makes one matrix for both gates and one for the candidate, each from
            # inputs and state together; Glorot's limit follows those two shapes.
            for weight in (self.kernel, self.recurrent):
                for start, stop in ((0, 2 * n_units), (2 * n_units, 3 * n_units)):
                    limit = (6 / (n_inputs + n_units + stop - start)) ** 0.5
                    weight[..., start:stop].uniform_(-limit, limit)
            self.bias[:, : 2 * n_units] = 1.0

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return ``[B, F, 2H]`` for clips ``[B, F, N]``, each true up to its length ``[B]``."""
        if torch.compiler.is_exporting():
            states: Tensor = bigru_op(x, self.kernel, self.recurrent, self.bias)
            return states
        return bigru_of_batch(x, self.kernel, self.recurrent, self.bias, lengths)

    def of_rows(self, rows: Tensor, lengths: Tensor, n_steps: int) -> Tensor:
        """Return ``[B, F, 2H]`` for clips of any length, whose true steps are ``[S, N]``."""
        return bigru(rows, self.kernel, self.recurrent, self.bias, lengths, n_steps)

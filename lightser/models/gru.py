"""A bidirectional GRU by the reference equations, its two directions sharing weights or not.

Cho et al. 2014, as in TensorFlow 1: the reset gate acts on the state *before* the recurrent
product, and there is one set of biases. PyTorch's own GRU resets after it and has two sets.

Shapes: B clips, F steps, N inputs, H units, D sets of weights (1 if shared, else 2).
"""

import torch
from torch import Tensor, nn


@torch.library.custom_op("lightser::bigru", mutates_args=())
def bigru_op(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """Run the GRU as one operation, so that an exporter finds one node of free length."""
    return bigru(x, kernel, recurrent, bias, None)


@bigru_op.register_fake
def _(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], 2 * recurrent.shape[1])


def bigru(
    x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor, lengths: Tensor | None
) -> Tensor:
    r"""Return both directions' states, ``[B, F, N]`` to ``[B, F, 2H]``.

    .. math::
        r, z = \sigma(x W_{rz} + h U_{rz} + b_{rz}), \quad
        c = \tanh(x W_c + (r \odot h) U_c + b_c), \quad
        h' = z \odot h + (1 - z) \odot c

    Args:
        x: inputs.
        kernel: ``[D, N, 3H]``, gates r, z, c.
        recurrent: ``[D, H, 3H]``.
        bias: ``[D, 3H]``.
        lengths: true steps ``[B]``. The backward direction starts at a clip's last true step, and
            states beyond it are zero.
    """
    n_clips, n_steps, _ = x.shape
    n_units = recurrent.shape[1]
    steps = torch.arange(n_steps, device=x.device)
    if lengths is None:
        lengths = torch.full((n_clips,), n_steps, device=x.device)
    # The reversal is its own inverse: true steps run backwards, padding stays behind them.
    turned = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # [B, F]

    inputs = torch.einsum("bfn,dnh->dbfh", x, kernel) + bias[:, None, None]  # [D, B, F, 3H]
    backward = inputs[-1].gather(1, turned[..., None].expand(-1, -1, 3 * n_units))
    inputs = torch.stack([inputs[0], backward])  # [2, B, F, 3H]
    gates, candidates = inputs[..., : 2 * n_units], inputs[..., 2 * n_units :]
    recurrent = recurrent.expand(2, -1, -1)
    gate_kernel = recurrent[..., : 2 * n_units]  # [2, H, 2H]
    candidate_kernel = recurrent[..., 2 * n_units :]  # [2, H, H]

    h = x.new_zeros(2, n_clips, n_units)
    states = []
    for gate, candidate in zip(gates.unbind(2), candidates.unbind(2), strict=True):
        r, z = torch.sigmoid(torch.baddbmm(gate, h, gate_kernel)).chunk(2, dim=2)
        c = torch.tanh(torch.baddbmm(candidate, r * h, candidate_kernel))
        h = c + z * (h - c)
        states.append(h)
    forward, backward = torch.stack(states, dim=2)  # [B, F, H] each
    backward = backward.gather(1, turned[..., None].expand(-1, -1, n_units))
    beyond = (steps >= lengths[:, None])[..., None]
    return torch.cat([forward, backward], dim=2).masked_fill(beyond, 0.0)


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
        if torch.compiler.is_exporting():
            states: Tensor = bigru_op(x, self.kernel, self.recurrent, self.bias)
            return states
        return bigru(x, self.kernel, self.recurrent, self.bias, lengths)

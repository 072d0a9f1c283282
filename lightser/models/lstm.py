"""A bidirectional LSTM with one set of biases per direction, as the baselines' papers count it.

Hochreiter and Schmidhuber 1997, with forget gate (Gers et al. 2000) and no peepholes: TensorFlow's
basic cell. PyTorch's own module keeps two sets of biases, of which only the sum matters.

Shapes: B clips, F steps, N inputs, H units.
"""

import torch
from torch import Tensor, nn


class BiLSTM(nn.Module):
    """States of both directions, ``[B, F, N]`` to ``[B, F, 2H]``.

    Glorot-uniform weights over inputs and state together; biases 0, of the forget gate 1.

    Args:
        n_inputs: N.
        n_units: H, of each direction.

    Attributes:
        unrolled: whether to go step by step, by operations of which :func:`torch.func.vmap` makes
            batched ones. It does not know PyTorch's own.
    """

    unrolled = False

    def __init__(self, n_inputs: int, n_units: int):
        super().__init__()
        self.n_units = n_units
        # Gates in PyTorch's order: input, forget, cell, output.
        self.kernel = nn.Parameter(torch.empty(2, 4 * n_units, n_inputs))
        self.recurrent = nn.Parameter(torch.empty(2, 4 * n_units, n_units))
        self.bias = nn.Parameter(torch.zeros(2, 4 * n_units))
        limit = (6 / (n_inputs + n_units + 4 * n_units)) ** 0.5
        with torch.no_grad():
            for weight in (self.kernel, self.recurrent):
                weight.uniform_(-limit, limit)
            self.bias[:, n_units : 2 * n_units] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.unrolled:
            return self._unrolled(x)
        start = x.new_zeros(2, x.shape[0], self.n_units)
        second = torch.zeros_like(self.bias)  # the set of biases that PyTorch adds
        weights = [
            part[direction]
            for direction in range(2)
            for part in (self.kernel, self.recurrent, self.bias, second)
        ]
        states: Tensor
        states, _, _ = torch.lstm(
            x,
            (start, start),
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=True,
            batch_first=True,
        )
        return states

    def _unrolled(self, x: Tensor) -> Tensor:
        inputs = torch.einsum("bfn,dhn->fdbh", x, self.kernel) + self.bias[:, None]
        inputs = torch.stack([inputs[:, 0], inputs[:, 1].flip(0)], dim=1)  # as each hears them
        recurrent = self.recurrent.transpose(1, 2)
        h = c = inputs.new_zeros(2, x.shape[0], self.n_units)
        states = []
        for step in inputs.unbind(0):
            i, f, g, o = torch.baddbmm(step, h, recurrent).chunk(4, dim=2)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        both = torch.stack(states)  # [F, 2, B, H]
        return torch.cat([both[:, 0], both[:, 1].flip(0)], dim=2).transpose(0, 1)


def last_states(states: Tensor) -> Tensor:
    """Return where each direction ends, ``[B, F, 2H]`` to ``[B, 2H]``."""
    forward, backward = states.chunk(2, dim=2)
    return torch.cat([forward[:, -1], backward[:, 0]], dim=1)

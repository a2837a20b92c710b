"""Two optimisers as one: Muon for matrices inside networks, AdamW for all else.

Muon makes every step as large in all directions of a matrix (Jordan and others, 2024, "Muon: an optimizer for
hidden layers in neural networks"); with updates as large as AdamW's (Moonshot, 2025) one rate fits both.
"""

import torch
from torch import nn

MOMENTUM, BETAS, WEIGHT_DECAY = 0.95, (0.9, 0.95), 0.05


class MuonAndAdamW:
    """Used like any optimiser; `set_rate` sets the rates of both."""

    def __init__(self, inner, others):
        """@param inner Matrices, and kernels of convolutions, which are matrices of their outputs.
        @param others Groups of AdamW's; `share` is of the rate.
        """
        # Muon takes matrices only: a kernel's is another view of its memory.
        self.kernels = [(kernel, nn.Parameter(kernel.data.flatten(1))) for kernel in inner]
        self.optimizers = [
            torch.optim.Muon(
                [{"params": [matrix for _, matrix in self.kernels], "share": 1.0}],
                weight_decay=WEIGHT_DECAY,
                momentum=MOMENTUM,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(others, betas=BETAS, weight_decay=WEIGHT_DECAY),
        ]

    def set_rate(self, rate):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]

    def zero_grad(self):
        for kernel, _ in self.kernels:
            kernel.grad = None
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self):
        for kernel, matrix in self.kernels:
            # A model that has been on another device since lies in other memory.
            matrix.data = kernel.data.flatten(1)
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self):
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states):
        for optimizer, state in zip(self.optimizers, states):
            optimizer.load_state_dict(state)

"""Two optimisers as one: Muon for the matrices inside a transformer, AdamW for all else.

Muon makes every step as large in all directions of a matrix (Jordan and others, 2024, "Muon: an optimizer for
hidden layers in neural networks"); with updates as large as AdamW's (Moonshot, 2025) one rate fits both.
"""

import torch

MOMENTUM, BETAS, WEIGHT_DECAY = 0.95, (0.9, 0.95), 0.05


class MuonAndAdamW:
    """Used like any optimiser; `param_groups` are those of both."""

    def __init__(self, model, rate):
        inner, others = [], []
        for name, parameter in model.named_parameters():
            is_inner = name.startswith("transformer.") and parameter.dim() == 2
            (inner if is_inner else others).append(parameter)
        self.optimizers = [
            torch.optim.Muon(
                inner,
                rate,
                weight_decay=WEIGHT_DECAY,
                momentum=MOMENTUM,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(others, rate, betas=BETAS, weight_decay=WEIGHT_DECAY),
        ]

    @property
    def param_groups(self):
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self):
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self):
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states):
        for optimizer, state in zip(self.optimizers, states):
            optimizer.load_state_dict(state)

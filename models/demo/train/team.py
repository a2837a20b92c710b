"""Processes of one thread each that train one model: two threads of one process were slower."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as distributed


@dataclass
class Team:
    """One of `size` processes; the first saves and reports."""

    rank: int = 0
    size: int = 1

    def join(self, meeting_file):
        """Waits for the others. @param meeting_file A path that does not exist, the same for all."""
        if self.size > 1:
            distributed.init_process_group(
                "gloo", f"file://{meeting_file}", rank=self.rank, world_size=self.size
            )

    def leave(self):
        """So that this process can join for the next training."""
        if self.size > 1:
            distributed.destroy_process_group()

    @property
    def leads(self):
        return self.rank == 0

    def draw_apart(self, state):
        """The same weights as the leader's, other data; the leader alone saves. @param state TrainingState."""
        if not self.leads:
            torch.manual_seed(1_000 * self.rank + state.step)
            apart = np.random.default_rng([self.rank, state.step])
            state.rng.bit_generator.state = apart.bit_generator.state
            state.every = math.inf

    def average_gradients(self, parameters):
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        every = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])
        distributed.all_reduce(every)
        every /= self.size
        parts = every.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts):
            parameter.grad.copy_(part.view_as(parameter))

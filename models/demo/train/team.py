"""Processes of one thread each that train one model: two threads of one process were slower."""

from dataclasses import dataclass

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

    @property
    def leads(self):
        return self.rank == 0

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

"""What a step of training sees: conversations joined from heard turns, and some that were simulated whole."""

from dataclasses import fields

import numpy as np
import torch

from dialogue import Dialogue, Simulation
from microphone import CodeMicrophone

# Share of a batch that was simulated as sound: with echoes, and voices over each other.
SIMULATED = 0.125
# In the others users interrupt often and seldom fall silent, so that they say more.
INTERRUPTING, AFTER_SILENCE = 0.5, 0.02


class TrainingBatches:
    """Draws batches without end."""

    def __init__(self, agent, turns, store, rng):
        """@param turns HeardTurns with codes; @param store A DialogueStore."""
        self.agent, self.store, self.rng = agent, store, rng
        microphone = CodeMicrophone(turns, rng)
        self.simulation = Simulation(agent, microphone, rng, INTERRUPTING, AFTER_SILENCE)

    def take(self, size, device):
        """{name: [size, …]}, whole numbers as int64; as DialogueStore's."""
        simulated = round(size * SIMULATED)
        rows = torch.from_numpy(self.rng.integers(0, self.store.size, simulated))
        batch = self.store.take(rows, "cpu")
        joined = [self.simulation.draw() for _ in range(size - simulated)]
        for field in fields(Dialogue):
            name = "user" if field.name == "heard" else field.name
            new = np.stack([getattr(one, field.name) for one in joined])
            batch[name] = torch.cat([batch[name], torch.from_numpy(new).long()]).to(device)
        return batch

"""Simulates dialogues and encodes them: shards of token streams, which go on where they were ended."""

from dataclasses import fields

import numpy as np
import torch

from codec import encode_streaming
from dialogue import Dialogue, Simulation
from microphone import SoundMicrophone
from shard_files import read_shard, shard_paths, write_shard

SHARD, BATCH = 256, 32


def make_dialogues(folder, kind, numbers, agent, users, codec, seed=0, size=SHARD, device="cpu"):
    """Writes `folder`/KIND-000.npz …: user codes, and the arrays of Dialogue without the sound."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Dialogue) if field.name != "heard"]
    for number in numbers:
        path = folder / f"{kind}-{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number, *kind.encode()])
        simulation = Simulation(agent, SoundMicrophone(users, rng), rng)
        parts = {name: [] for name in ["user", *names]}
        for first in range(0, size, BATCH):
            dialogues = [simulation.draw() for _ in range(min(BATCH, size - first))]
            pcm = torch.from_numpy(np.stack([one.heard for one in dialogues])).to(device)
            parts["user"].append(encode_streaming(codec, pcm).cpu().numpy().astype(np.int16))
            for name in names:
                parts[name].append(np.stack([getattr(one, name) for one in dialogues]))
        write_shard(path, **{name: np.concatenate(arrays) for name, arrays in parts.items()})
        print(f"{path.name}: {size} dialogues", flush=True)


class DialogueStore:
    """All shards of a kind, as tensors."""

    def __init__(self, folder, kind):
        self.arrays = {}
        for path in shard_paths(folder, kind):
            for name, array in read_shard(path).items():
                self.arrays.setdefault(name, []).append(array)
        self.arrays = {n: torch.from_numpy(np.concatenate(a)) for n, a in self.arrays.items()}
        self.size = len(self.arrays["text"])

    def take(self, rows, device):
        """{name: [rows, …]}, whole numbers as int64."""
        return {name: array[rows].long().to(device) for name, array in self.arrays.items()}

"""Training that goes on where it was ended."""

import math

import numpy as np
import torch


class TrainingState:
    """Modules, optimiser, random numbers and the step, kept in a file every few hundred steps."""

    def __init__(self, path, modules, optimizer, rng, every=200):
        self.path, self.modules, self.optimizer = path, modules, optimizer
        self.rng, self.every, self.step = rng, every, 0
        self.extra = {}
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=False)
            for module, state in zip(modules, saved["modules"]):
                module.load_state_dict(state)
            optimizer.load_state_dict(saved["optimizer"])
            rng.bit_generator.state = saved["rng"]
            torch.set_rng_state(saved["torch"])
            self.step, self.extra = saved["step"], saved["extra"]
            print(f"going on at step {self.step}", flush=True)

    def advance(self):
        """Counts a step, and saves all now and then."""
        self.step += 1
        if self.step % self.every == 0:
            self.save()

    def save(self):
        part = self.path.with_suffix(".part")
        torch.save(
            {
                "modules": [module.state_dict() for module in self.modules],
                "optimizer": self.optimizer.state_dict(),
                "rng": self.rng.bit_generator.state,
                "torch": torch.get_rng_state(),
                "step": self.step,
                "extra": self.extra,
            },
            part,
        )
        part.replace(self.path)

    def finish(self):
        self.path.unlink(missing_ok=True)


def cosine_rate(step, steps, peak, warm_up=100, lowest=0.03):
    """Learning rate: rises linearly, then falls along a cosine."""
    share = 0.5 * (1 + math.cos(math.pi * min(1, step / steps)))
    return peak * min(1, (step + 1) / warm_up) * (lowest + (1 - lowest) * share)


class Averages:
    """Means of what was measured in the last steps, by name."""

    def __init__(self):
        self.values = {}

    def add(self, **values):
        for name, value in values.items():
            self.values.setdefault(name, []).append(float(torch.as_tensor(value).detach()))

    def take(self):
        text = " ".join(f"{name} {np.mean(v):.4f}" for name, v in self.values.items())
        self.values = {}
        return text

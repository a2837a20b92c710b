"""Log-mels as fine as a recogniser needs them: what the codec's convolutions must not lose."""

import numpy as np
import torch
import torch.nn.functional as functional

from codec import FRAME, SAMPLE_RATE, STEPS

BANDS, LOWEST, HIGHEST = 64, 60, 8_000
HOP, WINDOW, TRANSFORM = 240, 600, 1_024
# Numbers of a step of the convolutions.
STEP_MELS = BANDS * FRAME // STEPS // HOP
FLOOR = 1e-6


def _mel(frequency):
    return 2595 * np.log10(1 + frequency / 700)


def _filters():
    """[bins, BANDS] triangles, each with a sum of 1."""
    mels = np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.fft.rfftfreq(TRANSFORM, 1 / SAMPLE_RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    filters = np.maximum(np.minimum(rising, falling), 0)
    return torch.from_numpy((filters / filters.sum(0)).astype(np.float32))


FILTERS = _filters()


def log_mels(pcm):
    """[B, frames * FRAME] to [B, frames * STEPS, STEP_MELS], with about zero mean and unit variance over speech."""
    padded = functional.pad(pcm, (WINDOW - HOP, 0))
    windows = padded.unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW, device=pcm.device)
    power = torch.fft.rfft(windows, TRANSFORM).abs().square() @ FILTERS.to(pcm.device)
    return ((torch.log(power + FLOOR) + 6) / 4).reshape(len(pcm), -1, STEP_MELS)

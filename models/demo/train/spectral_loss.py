"""How far two sounds differ in their spectra."""

import torch

WINDOWS = (2048, 1024, 512, 256, 128)


def spectral_loss(found, expected):
    """Mean of differences of logarithmic and linear magnitudes at five resolutions; [batch, samples]."""
    total = 0.0
    for window in WINDOWS:
        hann = torch.hann_window(window, device=found.device)
        scale = window**-0.5
        magnitudes = [
            torch.stft(x, window, window // 4, window=hann, return_complex=True).abs() * scale
            for x in (found, expected)
        ]
        logarithms = [torch.log(magnitude + 1e-3) for magnitude in magnitudes]
        total = total + (logarithms[0] - logarithms[1]).abs().mean()
        total = total + 4 * (magnitudes[0] - magnitudes[1]).abs().mean()
    return total / len(WINDOWS)

"""What rooms, microphones and networks do to speech: the augmentation of the training, seeded."""

import subprocess

import numpy as np
import scipy.fft
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000


def noise(samples, rng):
    """White to brown noise, at times with mains hum; power 1. [samples]"""
    bins = samples // 2 + 1
    spectrum = scipy.fft.rfft(rng.standard_normal(samples, dtype=np.float32))
    frequency = (np.maximum(np.arange(bins), 1) / bins).astype(np.float32)
    spectrum = spectrum * frequency ** np.float32(-rng.choice([0.0, 0.5, 0.5, 1.0]))
    if rng.random() < 0.3:
        for harmonic in range(1, 4):
            bin_ = int(rng.choice([50, 60]) * harmonic * samples / SAMPLE_RATE)
            if bin_ < bins:
                spectrum[bin_] += np.abs(spectrum).max() * rng.random()
    pcm = scipy.fft.irfft(spectrum, samples)
    return (pcm / (np.sqrt((pcm**2).mean()) + 1e-9)).astype(np.float32)


def reverberation(pcm, rng, direct=1.0):
    """A decaying tail of noise; `direct` scales what arrives straight from the mouth."""
    length = int(rng.uniform(0.08, 0.4) * SAMPLE_RATE)
    response = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    response *= rng.uniform(0.05, 0.4) / np.sqrt((response**2).sum())
    response[0] += direct
    size = 1 << int(np.ceil(np.log2(len(pcm) + length)))
    product = scipy.fft.rfft(pcm, size) * scipy.fft.rfft(response.astype(np.float32), size)
    return scipy.fft.irfft(product, size)[: len(pcm)]


def band(pcm, low, high, tilt):
    """Band limits in Hz, and a tilt in powers of the frequency."""
    frequency = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    gain = 1 / (1 + (low / np.maximum(frequency, 1)) ** 6) / (1 + (frequency / high) ** 8)
    gain *= (np.maximum(frequency, 100) / 1000) ** tilt
    return scipy.fft.irfft(scipy.fft.rfft(pcm) * gain, len(pcm))


def other_speaker(pcm, rng):
    """Faster and higher, or slower and lower, by up to 12 percent: ([samples], factor of the speed)."""
    percent = int(rng.integers(89, 113))
    if percent == 100:
        return pcm, 1.0
    return resample_poly(pcm, 100, percent).astype(np.float32), percent / 100


def colour(pcm, rng):
    """Room, band and distortion at random; peak 1. [samples] float32"""
    if rng.random() < 0.4:
        pcm = reverberation(pcm, rng)
    if rng.random() < 0.6:
        if rng.random() < 0.35:
            limits = rng.uniform(150, 350), rng.uniform(3000, 3800)
        else:
            limits = rng.uniform(20, 150), rng.uniform(4500, 12000)
        pcm = band(pcm, *limits, rng.uniform(-0.25, 0.25))
    if rng.random() < 0.15:
        pcm = np.tanh(pcm * rng.uniform(1, 4))
    return (pcm / (np.abs(pcm).max() + 1e-6)).astype(np.float32)


def distant(pcm, rng):
    """As of somebody at the other end of a room: little direct sound, dull; peak 1."""
    pcm = band(reverberation(pcm, rng, direct=0.1), 80, rng.uniform(1800, 4000), -0.2)
    return (pcm / (np.abs(pcm).max() + 1e-6)).astype(np.float32)


def level(rng):
    """Peak of an utterance: -22 to -1 dBFS."""
    return 10 ** (rng.uniform(-22, -1) / 20)


def through_opus(pcm, kilobits):
    """Coded by Opus and decoded again, as WebRTC does; [samples] float32 at 24 kHz."""
    raw = ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    encode = ["ffmpeg", "-v", "error", *raw, "-i", "-", "-c:a", "libopus", "-b:a", f"{kilobits}k"]
    decode = ["ffmpeg", "-v", "error", "-i", "-", *raw, "-"]
    samples = (np.clip(pcm, -1, 1) * 32_767).astype("<i2").tobytes()
    coded = subprocess.run([*encode, "-f", "ogg", "-"], input=samples, capture_output=True, check=True)
    decoded = subprocess.run(decode, input=coded.stdout, capture_output=True, check=True)
    result = np.frombuffer(decoded.stdout, "<i2").astype(np.float32) / 32_768
    return np.pad(result, (0, max(0, len(pcm) - len(result))))[: len(pcm)]

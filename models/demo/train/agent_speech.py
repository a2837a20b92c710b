"""The model's own lines, by hibari, with the time of every word.

The durations of the phonemes are read out of the synthesiser's network, so that text and sound are
aligned to the frame. Writes lines.npz, [samples] float32 at 24 kHz for each line, and lines.json.
"""

import json

import numpy as np
import onnx
import onnxruntime

from repertoire import LINES
from synthesisers import SAMPLE_RATE, Synthesisers, single_threaded

SEED = 7
# Seconds before the first word, after the last sound, and between sentences.
LEAD, TAIL, PAUSE = 0.06, 0.12, 0.14
FADE_SAMPLES = 120
ROOT_MEAN_SQUARE = 0.08
# Of the duration predictor, rounded to frames; hibari 0.2.1.
DURATIONS = "/Round_output_0"


def open_durations(hibari):
    model = onnx.load(hibari.model_path)
    output = onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(output)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), single_threaded(), providers=["CPUExecutionProvider"]
    )


def speak_sentence(hibari, durations, text):
    """([samples], [(word, begin, end)] in seconds)."""
    (phonemes,) = hibari.phonemize(text)
    ids = hibari.ids(phonemes)
    known = [phoneme for phoneme in phonemes if phoneme in hibari.vocab]
    pcm = hibari.from_ids(ids, 1.0, np.random.default_rng(SEED))
    feed = {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}
    frames = np.maximum(durations.run([DURATIONS], feed)[0].reshape(-1), 1)
    seconds = len(pcm) / SAMPLE_RATE
    edges = np.concatenate([[0], np.cumsum(frames)]) / frames.sum() * seconds
    spans, span = [], None
    for index, phoneme in enumerate(known):
        if phoneme == " ":
            span = None
        elif phoneme.isalpha() or phoneme in "ˈˌ":
            if span is None:
                span = [edges[index + 1], edges[index + 2]]
                spans.append(span)
            span[1] = edges[index + 2]
    words = text.split()
    if len(spans) != len(words):
        # A word of several phonetic words; the line's length is shared out evenly.
        print(f"{text}: {len(words)} words, {len(spans)} found in {phonemes}")
        share = seconds / len(words)
        spans = [(index * share, (index + 1) * share) for index in range(len(words))]
    return pcm, [(word, float(a), float(b)) for word, (a, b) in zip(words, spans)]


def last_sound(pcm):
    """Seconds. The last phoneme's duration contains the silence after it."""
    envelope = np.convolve(np.abs(pcm), np.ones(240) / 240, "same")
    return np.nonzero(envelope > 0.02 * envelope.max())[0][-1] / SAMPLE_RATE


def speak_line(hibari, durations, text):
    parts, words, begin = [], [], 0.0
    for sentence in hibari.split_sentences(text):
        pcm, spans = speak_sentence(hibari, durations, sentence)
        first = max(0.0, spans[0][1] - LEAD)
        last = min(len(pcm) / SAMPLE_RATE, last_sound(pcm) + TAIL)
        pcm = pcm[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)]
        words += [(word, begin + a - first, begin + b - first) for word, a, b in spans]
        parts += [pcm, np.zeros(int(PAUSE * SAMPLE_RATE), np.float32)]
        begin += len(pcm) / SAMPLE_RATE + PAUSE
    pcm = np.concatenate(parts[:-1])
    pcm[:FADE_SAMPLES] *= np.linspace(0, 1, FADE_SAMPLES)
    pcm[-FADE_SAMPLES:] *= np.linspace(1, 0, FADE_SAMPLES)
    pcm *= ROOT_MEAN_SQUARE / np.sqrt((pcm**2).mean())
    return np.clip(pcm, -0.99, 0.99).astype(np.float32), words


def speak_lines(folder):
    """Writes lines.npz and lines.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    hibari = Synthesisers().hibari
    durations = open_durations(hibari)
    sounds, words = {}, {}
    for name, text in LINES.items():
        sounds[name], words[name] = speak_line(hibari, durations, text)
    np.savez(folder / "lines.npz", **sounds)
    (folder / "lines.json").write_text(json.dumps(words))
    seconds = sum(len(pcm) for pcm in sounds.values()) / SAMPLE_RATE
    print(f"{len(sounds)} lines, {seconds:.0f} s")


def read_lines(folder):
    """({name: [samples]}, {name: [(word, begin, end)]})."""
    with np.load(folder / "lines.npz") as file:
        sounds = {name: file[name] for name in file.files}
    return sounds, json.loads((folder / "lines.json").read_text())

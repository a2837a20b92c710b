"""Speaks what the evaluation asks a model: held-out voices and wordings beside those of the training.

    python evaluation_audio.py --repertoire ../repertoire.json --out DIR [--clips 48] [--compact]

Writes WAVs and index.json, which `moshi bench demo --audio DIR` reads. What comes out depends on the
repertoire and the seed alone.
"""

import argparse
import json
import pathlib
import random

import numpy as np
from scipy.signal import resample_poly

import room
from recorded_speech import recordings
from sound_files import write_mu_law, write_pcm16
from synthesisers import SAMPLE_RATE, TAIL_SAMPLES, Synthesisers, voices

SEED = 2026
# Of every ten clips. Kokoro has no share among seen voices: it is slow, and few were trained on.
SEEN_FAMILIES = ["espeak"] * 4 + ["flite"] * 2 + ["hibari"] * 2 + ["piper"] * 2
UNSEEN_FAMILIES = ["espeak"] * 5 + ["flite"] * 3 + ["kokoro"] * 2
COMPACT_RATE = 16_000


def question_clips(repertoire, synthesisers, count, draw, rng):
    """`count` clips for each of seen and unseen voice and wording; questions take turns."""
    wordings = repertoire["wordings"]
    for seen_voice in (True, False):
        for seen_wording in (True, False):
            kind = "training" if seen_wording else "heldOut"
            lines = [line for line in wordings if wordings[line][kind]]
            draw.shuffle(lines)
            for index in range(count):
                line = lines[index % len(lines)]
                text = draw.choice(wordings[line][kind])
                families = SEEN_FAMILIES if seen_voice else UNSEEN_FAMILIES
                family = families[index % len(families)]
                voice = draw.choice(voices(family, held_out=not seen_voice))
                pcm = synthesisers.say(text, family, voice, draw)
                tail = TAIL_SAMPLES
                yield room.colour(pcm, rng), tail, {
                    "kind": "question",
                    "text": text,
                    "line": line,
                    "voice": f"{family} {voice}",
                    "seenVoice": seen_voice,
                    "seenWording": seen_wording,
                }


def human_clips(people, count, draw, rng):
    """Recordings of people whom no training has heard; none of them can be answered."""
    for pcm, speaker, name in draw.sample(people, min(count, len(people))):
        clip = {"kind": "human", "text": name, "voice": f"human {speaker}"}
        yield room.colour(pcm, rng), TAIL_SAMPLES, clip


def distant_clips(repertoire, synthesisers, people, count, draw, rng):
    """Other people's talk, far from the microphone; a third of it by recorded people."""
    for pcm, speaker, name in draw.sample(people, max(1, count // 3)):
        clip = {"kind": "distant", "text": name, "voice": f"human {speaker}"}
        yield room.distant(pcm, rng), TAIL_SAMPLES, clip
    talk = repertoire["wordings"][repertoire["fallback"]]["heldOut"]
    for index in range(count):
        family = UNSEEN_FAMILIES[index % len(UNSEEN_FAMILIES)]
        voice = draw.choice(voices(family, held_out=True))
        text = draw.choice(talk)
        pcm = synthesisers.say(text, family, voice, draw)
        yield room.distant(pcm, rng), TAIL_SAMPLES, {
            "kind": "distant",
            "text": text,
            "voice": f"{family} {voice}",
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repertoire", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--clips", type=int, default=48, help="of each kind of question")
    parser.add_argument("--compact", action="store_true", help="16 kHz, 8 bits (mu-law)")
    arguments = parser.parse_args()
    repertoire = json.loads(arguments.repertoire.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw, rng = random.Random(SEED), np.random.default_rng(SEED)
    synthesisers = Synthesisers()
    clips, people = [], list(recordings("voice"))
    sources = [
        *question_clips(repertoire, synthesisers, arguments.clips, draw, rng),
        *distant_clips(repertoire, synthesisers, people, max(2, arguments.clips // 4), draw, rng),
        *human_clips(people, arguments.clips // 2, draw, rng),
    ]
    for index, (pcm, tail, clip) in enumerate(sources):
        name = f"{index:03d}.wav"
        if arguments.compact:
            write_mu_law(arguments.out / name, resample_poly(pcm, 2, 3), COMPACT_RATE)
        else:
            write_pcm16(arguments.out / name, pcm, SAMPLE_RATE)
        clips.append({"file": name, "tailMs": round(1000 * tail / SAMPLE_RATE), **clip})
    index = {
        "lines": repertoire["lines"],
        "greeting": repertoire["greeting"],
        "fallback": repertoire["fallback"],
        "unprompted": repertoire["unprompted"],
        "backchannel": repertoire["backchannel"],
        "clips": clips,
    }
    (arguments.out / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()

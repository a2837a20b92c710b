"""What users say, in many voices and wordings: shards of a few hundred utterances.

    python user_speech.py --out DIR --shards 40 [--seed 0]

A shard is a .i16 file of samples at 24 kHz and a .json that tells what is where. Shards named train-…
are of the training; voice-…, text-… and both-… have held-out voices, wordings, or both. A shard depends
on its name alone, is written at once, and never again: the command goes on where it was ended.
"""

import argparse
import json
import pathlib
import random

import numpy as np

import room
from carriers import draw_wording
from repertoire import FALLBACK, KINDS, STORY, WORDINGS
from synthesisers import (
    FAMILY_SHARES,
    HELD_OUT_VOICES,
    QUICK_FAMILY_SHARES,
    SAMPLE_RATE,
    Synthesisers,
    voices,
)

UTTERANCES = 250
# Shards of the training in which all families speak; in those after them, the quick ones do.
MIXED_SHARDS = 60
LONGEST_SECONDS, SHORTEST_SECONDS = 9, 0.15
# Of utterances that have been through Opus at a few kilobits a second, as callers' are.
OPUS_SHARE, OPUS_KILOBITS = 0.15, (12, 16, 24, 32)
# How often a kind is spoken, and how often a speaker of a dialogue draws it: few recordings of stories,
# which are long, serve many dialogues; talk without an answer has no end.
WEIGHTS = {kind: 1.0 for kind in KINDS} | {STORY: 0.5, FALLBACK: 5.0}
DRAWN_WEIGHTS = WEIGHTS | {STORY: 2.0}
HELD_OUT_FAMILY_SHARES = {"espeak": 0.5, "flite": 0.35, "kokoro": 0.15}


def speak_shard(path, synthesisers, seed, utterances=UTTERANCES):
    """Writes `path`.i16 and `path`.json; `path`'s name begins with train, voice, text or both."""
    kind_of_shard, number = path.name.split("-")
    draw = random.Random(f"{path.name} {seed}")
    held_voice = kind_of_shard in ("voice", "both")
    held_text = kind_of_shard in ("text", "both")
    if held_voice:
        shares = HELD_OUT_FAMILY_SHARES
    elif int(number) < MIXED_SHARDS:
        shares = FAMILY_SHARES
    else:
        shares = QUICK_FAMILY_SHARES
    kinds = draw.choices(KINDS, [WEIGHTS[kind] for kind in KINDS], k=utterances)
    pieces, items, offset = [], [], 0
    for kind in kinds:
        text = draw.choice(WORDINGS[kind]["heldOut"]) if held_text else draw_wording(kind, draw)
        family = draw.choices(list(shares), list(shares.values()))[0]
        voice = draw.choice(voices(family, held_voice))
        pcm = synthesisers.say(text, family, voice, draw)
        if pcm is None or not SHORTEST_SECONDS < len(pcm) / SAMPLE_RATE < LONGEST_SECONDS:
            continue
        if draw.random() < OPUS_SHARE:
            pcm = room.through_opus(pcm, draw.choice(OPUS_KILOBITS))
        samples = (np.clip(pcm, -1, 1) * 32_767).astype("<i2")
        pieces.append(samples)
        items.append(
            {
                "kind": kind,
                "text": text,
                "family": family,
                "voice": voice,
                "offset": offset,
                "samples": len(samples),
            }
        )
        offset += len(samples)
    np.concatenate(pieces).tofile(path.with_suffix(".i16.part"))
    path.with_suffix(".i16.part").replace(path.with_suffix(".i16"))
    path.with_suffix(".json.part").write_text(json.dumps(items))
    path.with_suffix(".json.part").replace(path.with_suffix(".json"))
    print(f"{path.name}: {len(items)} utterances, {offset / SAMPLE_RATE:.0f} s", flush=True)


def speak_users(folder, shards, seed=0, utterances=UTTERANCES, held_shards=2):
    """All shards that are not there yet."""
    assert set(HELD_OUT_FAMILY_SHARES) == set(HELD_OUT_VOICES)
    folder.mkdir(parents=True, exist_ok=True)
    synthesisers = Synthesisers()
    names = [
        f"{kind}-{number:03d}" for kind in ("voice", "text", "both") for number in range(held_shards)
    ]
    for name in [*names, *(f"train-{number:03d}" for number in range(shards))]:
        if not (folder / name).with_suffix(".json").exists():
            speak_shard(folder / name, synthesisers, seed, utterances)


class Users:
    """Utterances of the shards of one kind, as they are needed."""

    def __init__(self, folder, kind="train", shards=None):
        self.items, self._sounds = [], []
        for file in sorted(folder.glob(f"{kind}-*.json"))[:shards]:
            shard = len(self._sounds)
            self.items += [dict(item, shard=shard) for item in json.loads(file.read_text())]
            self._sounds.append(np.memmap(file.with_suffix(".i16"), "<i2", "r"))
        self._by_kind = {}
        for index, item in enumerate(self.items):
            self._by_kind.setdefault(item["kind"], []).append(index)

    def pcm(self, index):
        """[samples] float32, peak about 0.9."""
        item = self.items[index]
        samples = self._sounds[item["shard"]][item["offset"] : item["offset"] + item["samples"]]
        return np.asarray(samples, np.float32) / 32_768

    def draw(self, rng):
        """Index of an utterance; kinds by their weights, whatever the shards hold of them."""
        kinds = list(self._by_kind)
        weights = np.array([DRAWN_WEIGHTS[kind] for kind in kinds])
        of_kind = self._by_kind[kinds[rng.choice(len(kinds), p=weights / weights.sum())]]
        return of_kind[rng.integers(len(of_kind))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    speak_users(arguments.out, arguments.shards, arguments.seed)


if __name__ == "__main__":
    main()

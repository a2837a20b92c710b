"""What the model hears of a conversation: sound of a simulated room, or codes of turns heard before.

Two kinds with the same use: `begin()` a conversation, `draw_turn()` of a user, `place()` it where it is
said; `phones` tells which phone is said in each step, as far as it is known. Sound is true to rooms: echo,
several voices at once, one noise throughout. Codes cost nothing, so that no conversation need be heard
twice.
"""

from dataclasses import dataclass

import numpy as np

import room
from codec import CODEBOOKS, FRAME, SAMPLE_RATE, STEPS
from phones import UNKNOWN
from synthesisers import TAIL_SAMPLES

# Of conversations with knocks, with other people's talk, with an echo of the model's voice.
KNOCKS, TALK, ECHO = 0.3, 0.3, 0.15


@dataclass
class Turn:
    """What a user says."""

    kind: str
    text: str
    # Samples after the begin of its first frame, and from there to the end of the speech.
    offset: int
    samples: int

    @property
    def frames(self):
        """From the frame in which speech begins to that in which it ends, less one."""
        return (self.offset + self.samples) // FRAME


@dataclass
class SpokenTurn(Turn):
    pcm: np.ndarray  # float32, with a tail


@dataclass
class HeardTurn(Turn):
    codes: np.ndarray  # [8, lead + frames + tail]
    phones: np.ndarray  # [(lead + frames + tail) * STEPS]
    lead: int


def add_noise(pcm, gain, rng):
    """A room's noise under speech whose peak is `gain`, from -21 to -61 dB below it; at times nearly none."""
    loud = gain * 0.15 * 10 ** (-rng.uniform(5, 45) / 20)
    pcm += room.noise(len(pcm), rng) * (loud if rng.random() < 0.85 else 1e-5)


def add_disturbances(pcm, users, gain, rng):
    """Other people's talk at a distance, and knocks."""
    length = len(pcm)
    if rng.random() < TALK:
        at = int(rng.integers(0, length // 4))
        distance = 10 ** (rng.uniform(-38, -27) / 20)
        while at < length:
            index = users.draw(rng)
            talk = room.distant(users.pcm(index), rng)[: length - at]
            pcm[at : at + len(talk)] += talk * min(distance, gain * 0.25)
            at += len(talk) + int(rng.integers(2, 60)) * FRAME
    if rng.random() < KNOCKS:
        for _ in range(rng.integers(1, 4)):
            samples = int(rng.uniform(0.03, 0.3) * SAMPLE_RATE)
            at = int(rng.integers(0, length - samples))
            knock = room.noise(samples, rng) * np.hanning(samples)
            pcm[at : at + samples] += knock * gain * rng.uniform(0.05, 0.5)


class SoundMicrophone:
    """Hears users' utterances in rooms."""

    def __init__(self, users, rng):
        self.users, self.rng = users, rng

    def begin(self, frames):
        self.phones = np.full(frames * STEPS, UNKNOWN, np.int16)
        self.pcm = np.zeros(frames * FRAME, np.float32)
        self.gain = room.level(self.rng)

    def draw_turn(self):
        return self.say(self.users.draw(self.rng))

    def say(self, index):
        """The utterance `index` by somebody in some room."""
        rng, item = self.rng, self.users.items[index]
        speech, _ = room.other_speaker(self.users.pcm(index), rng)
        speech = room.colour(speech, rng) * self.gain * 10 ** (rng.uniform(-3, 3) / 20)
        return SpokenTurn(
            kind=item["kind"],
            text=item["text"],
            offset=int(rng.integers(0, FRAME)),
            samples=len(speech) - TAIL_SAMPLES,
            pcm=speech,
        )

    def place(self, turn, onset):
        """From frame `onset` on; there is room for it."""
        first = onset * FRAME + turn.offset
        self.pcm[first : first + len(turn.pcm)] += turn.pcm

    def finish(self, voice):
        """[samples] float32. @param voice [samples] What the model says meanwhile."""
        rng, pcm = self.rng, self.pcm
        add_disturbances(pcm, self.users, self.gain, rng)
        if rng.random() < ECHO:
            delay = int(rng.integers(1_000, 6_000))
            pcm[delay:] += voice[:-delay] * 10 ** (-rng.uniform(15, 32) / 20)
        add_noise(pcm, self.gain, rng)
        return np.clip(pcm, -1, 1)


class CodeMicrophone:
    """Joins turns and rooms that the codec has heard one by one."""

    def __init__(self, turns, rng):
        """@param turns HeardTurns with codes."""
        self.turns, self.rng = turns, rng

    def begin(self, frames):
        self.phones = np.full(frames * STEPS, UNKNOWN, np.int16)
        self.codes = np.empty((CODEBOOKS, frames), np.int16)
        self.codes[:] = self.turns.draw_room(frames, self.rng)

    def draw_turn(self):
        return self.turns.draw(self.rng)

    def place(self, turn, onset):
        first = onset - turn.lead
        span = slice(max(0, -first), min(turn.codes.shape[1], self.codes.shape[1] - first))
        begin, end = first + span.start, first + span.stop
        self.codes[:, begin:end] = turn.codes[:, span]
        self.phones[begin * STEPS : end * STEPS] = turn.phones[span.start * STEPS : span.stop * STEPS]

    def finish(self, voice):
        """[8, frames] int16."""
        return self.codes

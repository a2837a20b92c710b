"""One simulated full-duplex conversation: what the microphone hears, and what the model does about it.

Turn-taking is by rule and in frames of 80 ms, so that it can be changed here:
the greeting begins at GREET; an answer begins ANSWER frames after the one in which speech ends; a line is
cut STOP frames after the one in which a user begins to speak over it; after SILENCE frames without a word
the model asks once whether somebody is there; a turn that goes on for longer than LONG_TURN gets a
backchannel. Noise, and other people's talk at a distance, get nothing.
"""

from dataclasses import dataclass

import numpy as np

import room
from agent_streams import PAD
from codec import FRAME, SAMPLE_RATE
from repertoire import BACKCHANNEL, GREETING, KINDS, REPEAT
from repertoire import SILENCE as SILENCE_LINE
from synthesisers import TAIL_SAMPLES
from transcript import write_words

GREET, ANSWER, STOP, SILENCE, LONG_TURN, NEXT_BACKCHANNEL = 4, 6, 3, 125, 42, 50
FRAMES = 256
NO_KIND = -100

# Shares of turns that interrupt a line, that come after a long silence; of conversations with echo, with
# knocks, with other people's talk, without anybody.
INTERRUPTING, AFTER_SILENCE, ECHO, KNOCKS, TALK, NOBODY = 0.3, 0.08, 0.15, 0.3, 0.3, 0.05


@dataclass
class Dialogue:
    """Arrays of FRAMES, except `pcm`."""

    pcm: np.ndarray  # [FRAMES * 1920] float32, what the microphone hears
    agent: np.ndarray  # [8, FRAMES] int16 codes
    text: np.ndarray  # int16
    kinds: np.ndarray  # int16, index of the question's kind while it is understood
    speech: np.ndarray  # uint8, whether the user speaks
    active: np.ndarray  # uint8, whether the model speaks
    transcript: np.ndarray  # int16, what the user says as a text stream


class Simulation:
    """Draws dialogues from users' utterances and the model's streams."""

    def __init__(self, agent, users, rng):
        self.agent, self.users, self.rng = agent, users, rng

    def draw(self):
        rng, agent = self.rng, self.agent
        self.pcm = np.zeros(FRAMES * FRAME, np.float32)
        self.voice = np.zeros(FRAMES * FRAME, np.float32)
        self.result = Dialogue(
            pcm=self.pcm,
            agent=np.repeat(agent.silence[:, None], FRAMES, 1),
            text=np.full(FRAMES, PAD, np.int16),
            kinds=np.full(FRAMES, NO_KIND, np.int16),
            speech=np.zeros(FRAMES, np.uint8),
            active=np.zeros(FRAMES, np.uint8),
            transcript=np.full(FRAMES, PAD, np.int16),
        )
        gain = room.level(rng)
        self._converse(gain)
        self._add_room(gain)
        np.clip(self.pcm, -1, 1, out=self.pcm)
        return self.result

    def _converse(self, gain):
        rng, agent = self.rng, self.agent
        begin, line = GREET, GREETING
        while begin + 2 < FRAMES:
            frames = agent.frames[line]
            interrupts = frames > 12 and rng.random() < INTERRUPTING
            if interrupts:
                onset = begin + int(rng.integers(5, frames - 4))
            elif rng.random() < AFTER_SILENCE:
                onset = begin + frames + SILENCE + int(rng.integers(20, 60))
            else:
                onset = begin + frames + int(rng.integers(2, 22))
            index = self.users.draw(rng)
            item = self.users.items[index]
            speech, _ = room.other_speaker(self.users.pcm(index), rng)
            onset_sample = onset * FRAME + int(rng.integers(0, FRAME))
            end = (onset_sample + len(speech) - TAIL_SAMPLES) // FRAME
            if end + 4 >= FRAMES or rng.random() < NOBODY:
                # Nobody says anything any more.
                self._say(line, begin)
                self._ask_whether_alone(begin + frames)
                break
            self._say(line, begin, onset + STOP if interrupts else None)
            if onset - begin - frames > SILENCE:
                self._ask_whether_alone(begin + frames)
            speech = room.colour(speech, rng) * gain * 10 ** (rng.uniform(-3, 3) / 20)
            self.pcm[onset_sample : onset_sample + len(speech)] += speech
            self.result.speech[onset : end + 1] = 1
            end_sample = onset_sample + len(speech) - TAIL_SAMPLES
            transcript, tokenizer = self.result.transcript, agent.tokenizer
            write_words(transcript, tokenizer, item["text"], onset_sample, end_sample)
            free = self._accompany(onset, end)
            begin = max(end + ANSWER, free)
            kind = item["kind"]
            self.result.kinds[end : min(FRAMES, begin + 1)] = KINDS.index(kind)
            line = line if kind == REPEAT else kind

    def _say(self, line, begin, stop=None):
        """Puts a line where it begins, as much of it as there is room for."""
        codes, text = self.agent.codes[line], self.agent.text[line]
        frames = min(codes.shape[1], FRAMES - begin, FRAMES if stop is None else stop - begin)
        if frames <= 0:
            return
        self.result.agent[:, begin : begin + frames] = codes[:, :frames]
        self.result.text[begin - 1 : begin + frames] = text[: frames + 1]
        self.result.active[max(0, begin - 1) : begin + frames + 2] = 1
        sound = self.agent.sounds[line][: frames * FRAME]
        room_left = self.voice[begin * FRAME : begin * FRAME + len(sound)]
        room_left[:] = sound[: len(room_left)]

    def _ask_whether_alone(self, silent_since):
        if silent_since + SILENCE < FRAMES:
            self._say(SILENCE_LINE, silent_since + SILENCE)

    def _accompany(self, onset, end):
        """Backchannels of a long turn. Returns the first frame after them."""
        free, at = 0, onset + LONG_TURN
        while at <= end:
            self._say(BACKCHANNEL, at)
            free = at + self.agent.codes[BACKCHANNEL].shape[1] + 1
            at += NEXT_BACKCHANNEL
        return free

    def _add_room(self, gain):
        rng, length = self.rng, len(self.pcm)
        if rng.random() < TALK:
            at = int(rng.integers(0, 60)) * FRAME
            distance = 10 ** (rng.uniform(-38, -27) / 20)
            while at < length:
                index = self.users.draw(rng)
                talk = room.distant(self.users.pcm(index), rng)[: length - at]
                self.pcm[at : at + len(talk)] += talk * min(distance, gain * 0.25)
                at += len(talk) + int(rng.integers(2, 60)) * FRAME
        if rng.random() < KNOCKS:
            for _ in range(rng.integers(1, 4)):
                samples = int(rng.uniform(0.03, 0.3) * SAMPLE_RATE)
                at = int(rng.integers(0, length - samples))
                knock = room.noise(samples, rng) * np.hanning(samples)
                self.pcm[at : at + samples] += knock * gain * rng.uniform(0.05, 0.5)
        if rng.random() < ECHO:
            delay = int(rng.integers(1_000, 6_000))
            self.pcm[delay:] += self.voice[:-delay] * 10 ** (-rng.uniform(15, 32) / 20)
        loud = gain * 0.15 * 10 ** (-rng.uniform(6, 45) / 20)
        self.pcm += room.noise(length, rng) * (loud if rng.random() < 0.85 else 1e-5)

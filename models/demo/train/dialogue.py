"""One simulated full-duplex conversation: what the microphone hears, and what the model does about it.

Turn-taking is by rule and in frames of 80 ms, so that it can be changed here:
the greeting begins at GREET; an answer begins ANSWER frames after the one in which speech ends; a line is
cut STOP frames after the one in which a user begins to speak over it; after SILENCE frames without a word
the model asks once whether somebody is there; a turn that goes on for longer than LONG_TURN gets a
backchannel. Noise, and other people's talk at a distance, get nothing.
"""

from dataclasses import dataclass

import numpy as np

from agent_streams import PAD
from codec import FRAME
from repertoire import BACKCHANNEL, GREETING, KINDS, REPEAT
from repertoire import SILENCE as SILENCE_LINE
from transcript import words_by_letters, write_words

GREET, ANSWER, STOP, SILENCE, LONG_TURN, NEXT_BACKCHANNEL = 4, 6, 3, 125, 42, 50
FRAMES = 256
NO_KIND = -100

# Shares of turns that interrupt a line, that come after a long silence; of conversations that end early.
INTERRUPTING, AFTER_SILENCE, NOBODY = 0.3, 0.08, 0.05


@dataclass
class Dialogue:
    """Arrays of FRAMES; `heard` is what the microphone gives, sound or codes."""

    heard: np.ndarray
    agent: np.ndarray  # [8, FRAMES] int16 codes
    text: np.ndarray  # int16
    kinds: np.ndarray  # int16, index of the question's kind while it is understood
    speech: np.ndarray  # uint8, whether the user speaks
    active: np.ndarray  # uint8, whether the model speaks
    transcript: np.ndarray  # int16, what the user says as a text stream
    phones: np.ndarray  # [FRAMES * STEPS] int16, what is said, or UNKNOWN


class Simulation:
    """Draws dialogues from users' turns and the model's streams."""

    def __init__(
        self, agent, microphone, rng, interrupting=INTERRUPTING, after_silence=AFTER_SILENCE
    ):
        self.agent, self.microphone, self.rng = agent, microphone, rng
        self.interrupting, self.after_silence = interrupting, after_silence

    def draw(self):
        agent = self.agent
        self.microphone.begin(FRAMES)
        self.voice = np.zeros(FRAMES * FRAME, np.float32)
        self.result = Dialogue(
            heard=None,
            agent=np.repeat(agent.silence[:, None], FRAMES, 1),
            text=np.full(FRAMES, PAD, np.int16),
            kinds=np.full(FRAMES, NO_KIND, np.int16),
            speech=np.zeros(FRAMES, np.uint8),
            active=np.zeros(FRAMES, np.uint8),
            transcript=np.full(FRAMES, PAD, np.int16),
            phones=self.microphone.phones,
        )
        self._converse()
        self.result.heard = self.microphone.finish(self.voice)
        return self.result

    def _converse(self):
        rng, agent = self.rng, self.agent
        begin, line = GREET, GREETING
        while begin + 2 < FRAMES:
            frames = agent.frames[line]
            interrupts = frames > 12 and rng.random() < self.interrupting
            if interrupts:
                onset = begin + int(rng.integers(5, frames - 4))
            elif rng.random() < self.after_silence:
                onset = begin + frames + SILENCE + int(rng.integers(20, 60))
            else:
                onset = begin + frames + int(rng.integers(2, 22))
            turn = self.microphone.draw_turn()
            end = onset + turn.frames
            if end + 4 >= FRAMES or rng.random() < NOBODY:
                # Nobody says anything any more.
                self._say(line, begin)
                self._ask_whether_alone(begin + frames)
                break
            self._say(line, begin, onset + STOP if interrupts else None)
            if onset - begin - frames > SILENCE:
                self._ask_whether_alone(begin + frames)
            self.microphone.place(turn, onset)
            self.result.speech[onset : end + 1] = 1
            first_sample = onset * FRAME + turn.offset
            words = words_by_letters(turn.text, first_sample, first_sample + turn.samples)
            write_words(self.result.transcript, agent.tokenizer, words)
            free = self._accompany(onset, end)
            begin = max(end + ANSWER, free)
            self.result.kinds[end : min(FRAMES, begin + 1)] = KINDS.index(turn.kind)
            line = line if turn.kind == REPEAT else turn.kind

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

"""What a step of the transcriber's training hears: users one after another in one room, and nobody else.

They follow sooner than they would in a conversation, where an answer comes between them.
"""

import numpy as np
import torch

from agent_streams import PAD
from heard_turns import ROOM_FRAMES
from microphone import CodeMicrophone
from transcript import SpokenWords, write_words

FRAMES = ROOM_FRAMES
# Frames between two turns, and now and then.
SHORTEST_PAUSE, LONGEST_PAUSE, LONGEST_SILENCE, SILENCES = 4, 30, 125, 0.1


class ListeningBatches:
    """Draws batches without end."""

    def __init__(self, turns, tokenizer, delay, rng):
        """@param turns HeardTurns with codes; @param delay Frames from the begin of a word to its text."""
        self.tokenizer, self.delay, self.rng = tokenizer, delay, rng
        self.microphone = CodeMicrophone(turns, rng)
        self.words = SpokenWords(item["text"] for item in turns.items)

    def take(self, size, device):
        """{codes [size, codebooks, FRAMES], text [size, FRAMES], speaks [size, FRAMES]}, int64; who
        speaks goes on in the frame after."""
        rows = [self._draw() for _ in range(size)]
        names = "codes", "text", "speaks"
        stacked = [torch.from_numpy(np.stack(arrays)).long().to(device) for arrays in zip(*rows)]
        return dict(zip(names, stacked))

    def _draw(self):
        microphone = self.microphone
        microphone.begin(FRAMES)
        text, speaks = np.full(FRAMES, PAD, np.int16), np.zeros(FRAMES, np.uint8)
        onset = self._pause()
        while onset < FRAMES:
            turn = microphone.draw_turn()
            microphone.place(turn, onset)
            first = onset - turn.lead
            words = [(word, first + begin) for word, begin in self.words.of(turn)]
            write_words(text, self.tokenizer, words, self.delay)
            speaks[onset : onset + turn.frames] = 1
            onset += turn.frames + 1 + self._pause()
        return microphone.codes, text, speaks

    def _pause(self):
        longest = LONGEST_SILENCE if self.rng.random() < SILENCES else LONGEST_PAUSE
        return int(self.rng.integers(SHORTEST_PAUSE, longest))


class WholeTurns:
    """Turns by themselves, for the evaluation."""

    def __init__(self, turns, most):
        """@param turns HeardTurns with codes; @param most How many of them."""
        self.spoken = []
        for shard in turns.shards:
            for place, item in enumerate(shard["item"]):
                text = turns.items[item]["text"]
                if turns.items[item]["family"] != "human" and len(self.spoken) < most:
                    span = slice(shard["first"][place], shard["first"][place] + shard["frames"][place])
                    self.spoken.append((text, shard["codes"][0][:, span]))

    def batch(self, silence, tail):
        """(texts, codes [turns, codebooks, frames]). @param silence [codebooks] Codes after a turn, for
        `tail` frames at least."""
        frames = max(codes.shape[1] for _, codes in self.spoken) + tail
        batch = np.repeat(np.repeat(silence[None, :, None], frames, 2), len(self.spoken), 0)
        for row, (_, codes) in enumerate(self.spoken):
            batch[row, :, : codes.shape[1]] = codes
        return [text for text, _ in self.spoken], torch.from_numpy(batch).long()

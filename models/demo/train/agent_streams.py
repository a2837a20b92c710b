"""The model's lines as the streams that it says: codes, and text aligned to the words."""

import math

import numpy as np
import torch

from codec import FRAME, silent_codes

PAD, EPAD = 3, 0
FRAME_RATE = 12.5
# Frames of silence that the encoder hears before a line, and of the line's tail.
LEAD, TAIL = 40, 4


class AgentStreams:
    """Of each line: codes [8, n]; text tokens [n + 1], of which the first is of the frame before it."""

    def __init__(self, codec, tokenizer, sounds, words):
        self.codes, self.text, self.frames, self.sounds = {}, {}, {}, sounds
        self.tokenizer = tokenizer
        self.silence = silent_codes(codec)
        with torch.no_grad():
            for name, pcm in sounds.items():
                frames = math.ceil(len(pcm) / FRAME)
                after = frames * FRAME - len(pcm) + 20 * FRAME
                heard = torch.from_numpy(np.pad(pcm, (LEAD * FRAME, after)))[None, None]
                codes = codec.encode(heard)[0].numpy().astype(np.int16)
                self.codes[name] = codes[:, LEAD : LEAD + frames + TAIL]
                self.frames[name] = frames
                self.text[name] = align(tokenizer, words[name], frames + TAIL + 1)


def align(tokenizer, words, length):
    """EPAD on the frame before a word, its pieces from there on, PAD elsewhere; [length] int16"""
    tokens = np.full(length, PAD, np.int16)
    free = 1
    for word, begin, _ in words:
        frame = max(int(begin * FRAME_RATE) + 1, free)
        if tokens[frame - 1] == PAD and (frame > free or free == 1):
            tokens[frame - 1] = EPAD
        for piece in tokenizer.encode(word):
            if frame < length:
                tokens[frame] = piece
            frame += 1
        free = frame
    return tokens

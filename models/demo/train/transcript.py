"""What users say as the text stream of a speech-to-text model, late by half a second, as Kyutai's."""

from agent_streams import EPAD, PAD
from codec import FRAME

AUDIO_DELAY_SECONDS = 0.5
# Frames from the begin of a word to its text: the delay, and the frame that the model looks back.
DELAY = int(AUDIO_DELAY_SECONDS * 12.5) + 1


def write_words(tokens, tokenizer, text, first_sample, end_sample):
    """Puts an utterance's pieces into [frames] tokens; words take time by their letters."""
    words = text.lower().split()
    letters = sum(len(word) + 1 for word in words)
    spoken, free = 0, 0
    for word in words:
        begin = first_sample + (end_sample - first_sample) * spoken / letters
        frame = max(int(begin / FRAME) + DELAY, free)
        spoken += len(word) + 1
        if frame - 1 >= free and frame - 1 < len(tokens) and tokens[frame - 1] == PAD:
            tokens[frame - 1] = EPAD
        for piece in tokenizer.encode(word):
            if frame < len(tokens):
                tokens[frame] = piece
            frame += 1
        free = frame

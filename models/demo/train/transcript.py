"""What users say as a text stream, every word some time after its begin, as Kyutai's speech-to-text models write."""

import re

from agent_streams import EPAD, FRAME_RATE, PAD
from codec import FRAME, STEPS
from phones import SILENCE, phones_of


def delay_frames(seconds):
    """From the begin of a word to its text: the delay, and the frame that the model looks back."""
    return int(seconds * FRAME_RATE) + 1


# Of the transcripts by which the codec and the language model learn to listen.
DELAY = delay_frames(0.5)


def spelt(text):
    """As a transcript has it: lower case, letters, digits and apostrophes."""
    return re.findall(r"'?[a-z0-9][a-z0-9']*", text.lower())


def words_by_letters(text, first_sample, end_sample):
    """[(word, frame of its begin)]; words take time by their letters."""
    words = spelt(text)
    letters = sum(len(word) + 1 for word in words)
    spoken, found = 0, []
    for word in words:
        begin = first_sample + (end_sample - first_sample) * spoken / letters
        found.append((word, begin / FRAME))
        spoken += len(word) + 1
    return found


class SpokenWords:
    """Tells when each word of a turn begins, by the phones that an ear heard in it."""

    def __init__(self, texts):
        words = sorted({word for text in texts for word in spelt(text)})
        self.phones = {word: max(1, len(phones)) for word, phones in phones_of(words).items()}

    def of(self, turn):
        """[(word, frame of its begin)], frames from the first of the turn's lead. @param turn A HeardTurn."""
        heard = turn.phones
        begins = [
            step
            for step in range(1, len(heard))
            if heard[step] > SILENCE and heard[step] != heard[step - 1]
        ]
        if not begins:
            first_sample = turn.lead * FRAME + turn.offset
            return words_by_letters(turn.text, first_sample, first_sample + turn.samples)
        words = spelt(turn.text)
        phones = sum(self.phones[word] for word in words)
        spoken, found = 0, []
        for word in words:
            found.append((word, begins[spoken * len(begins) // phones] / STEPS))
            spoken += self.phones[word]
        return found


def write_words(tokens, tokenizer, words, delay=DELAY):
    """Puts pieces into [frames] tokens. @param words [(word, frame of its begin)]"""
    free = 0
    for word, begin in words:
        frame = max(int(begin) + delay, free)
        if frame - 1 >= free and frame - 1 < len(tokens) and tokens[frame - 1] == PAD:
            tokens[frame - 1] = EPAD
        for piece in tokenizer.encode(word):
            if frame < len(tokens):
                tokens[frame] = piece
            frame += 1
        free = frame

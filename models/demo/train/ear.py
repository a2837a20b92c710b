"""Names the phones of what users say, from the codec's quantised frames alone and a few around them.

It is trained with the codebooks (train_words.py), and afterwards tells where in each turn which phone is,
so that the language model can be asked for them, too.
"""

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from codec import DIMENSION, FRAME, STEPS, quantise_steps
from phones import PHONES, SILENCE, align, spread

SIZE = 192


class Ear(nn.Module):
    """[B, frames, 2 * DIMENSION] to scores of phones, [B, frames * STEPS, PHONES]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2 * DIMENSION, SIZE, 5, padding=2),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Conv1d(SIZE, STEPS * PHONES, 1),
        )

    def forward(self, frames):
        scores = self.layers(frames.transpose(1, 2)).transpose(1, 2)
        return scores.reshape(len(frames), -1, PHONES)


def _path_beside(codec_path):
    return codec_path.with_name(f"{codec_path.stem}-ear.safetensors")


def save_ear(ear, codec_path):
    """Beside the codec that it hears with."""
    state = {name: value.detach().cpu().contiguous() for name, value in ear.state_dict().items()}
    save_file(state, _path_beside(codec_path))


def load_ear(codec_path):
    ear = Ear()
    ear.load_state_dict(load_file(_path_beside(codec_path)))
    return ear.eval()


def both(first, every):
    """What the first codebook says and what all say, as an ear takes them."""
    return torch.cat([first, every], 1).transpose(1, 2)


def expected_phones(spoken):
    """(phones [B, most], guesses of their middles [B, most], lengths [B]), as `align` takes them.

    @param spoken [(phones of the text, sample of the begin, sample of the end)]
    """
    phones, guesses = [], []
    for said, begin, end in spoken:
        first, last = begin * STEPS / FRAME, end * STEPS / FRAME
        phones.append(torch.tensor([SILENCE, *said, SILENCE]))
        guesses.append(torch.tensor([first - 1, *spread(said, first, last).tolist(), last]))
    return (
        pad_sequence(phones, batch_first=True),
        pad_sequence(guesses, batch_first=True),
        torch.tensor([len(one) for one in phones]),
    )


def listen(ear, codec, steps, expected):
    """Where the ear hears the phones that are said, or UNKNOWN: [B, frames * STEPS]."""
    with torch.no_grad():
        scores = ear(both(*quantise_steps(codec, steps)[:2])).log_softmax(-1)
        return align(scores, *expected)

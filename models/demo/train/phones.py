"""What an utterance sounds like, phone after phone, and when.

espeak-ng names the phones. When they are said is found out while training: at first they are spread over
the utterance by rough lengths, then each step aligns them to what the model hears itself (Viterbi).
"""

import re
import subprocess
import tempfile

import torch

# Names of espeak-ng's en-us, without stress and length. What is not here counts as "@".
VOWELS = "@ 3 I i a aI aU eI oU OI E V 0 A O U u".split()
CONSONANTS = "p b t d k g f v T D s z S Z h tS dZ m n N l r w j".split()
SYMBOLS = ["silence", *VOWELS, *CONSONANTS]
PHONES, SILENCE = len(SYMBOLS), 0
ALIASES = dict(
    pair.split("=")
    for pair in (
        "I2=I O2=O @2=@ I#=I aa=a a#=@ 3:=3 @L=l 0#=0 A@=A O@=O o@=O U@=U e@=E i@=i i@3=i aI3=aI aI@=aI "
        "t2=t t#=t d#=d *=r r-=r n-=n l#=l z#=z I3=I u#=u oI=OI E#=E E2=E x=k"
    ).split()
)
# Of steps where nobody knows; functional.cross_entropy passes over it.
UNKNOWN = -100
# Rough lengths.
VOWEL, CONSONANT = 1.4, 1.0
# A path may be off its first guess by about so many steps, and pass over a phone at this price.
SPREAD, PASSED_OVER = 6.0, 4.0


def phones_of(texts):
    """{text: [phone, …]}, by one run of espeak-ng."""
    # One sentence for each text: it is told from the next by a line of its own.
    sentences = {text: re.sub(r"[^A-Za-z0-9' ]+", " ", text).strip() for text in texts}
    lines = sorted({line for line in sentences.values() if line})
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}.\n\n" for line in lines))
        file.flush()
        command = ["espeak-ng", "-v", "en-us", "-q", "-x", "--sep=_", "-f", file.name]
        spoken = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = spoken.strip("\n").split("\n")
    if len(found) != len(lines):
        raise ValueError(f"espeak-ng read {len(found)} sentences instead of {len(lines)}")
    phones = {"": []} | {line: _phones_of_line(one) for line, one in zip(lines, found)}
    return {text: phones[line] for text, line in sentences.items()}


def _phones_of_line(line):
    phones = []
    for mnemonic in re.split(r"[_\s]+", line):
        plain = re.sub(r"[',%=;!?]", "", mnemonic)
        plain = ALIASES.get(plain, plain).rstrip(":")
        plain = ALIASES.get(plain, plain)
        if plain:
            phones.append(SYMBOLS.index(plain) if plain in SYMBOLS else SYMBOLS.index("@"))
    return phones


def spread(phones, first, last):
    """Steps at whose middle each phone is said, if the utterance lasts from step `first` to `last`; float."""
    lengths = torch.tensor([VOWEL if SYMBOLS[phone] in VOWELS else CONSONANT for phone in phones])
    ends = lengths.cumsum(0)
    return first + (last - first) * (ends - lengths / 2) / ends[-1:]


def align(scores, phones, guesses, lengths):
    """The phone of each step on the best path through each utterance, or UNKNOWN where its text is: [B, steps].

    @param scores [B, steps, PHONES] log-probabilities; zeros give what the guesses say alone.
    @param phones [B, most] with silence before and after; @param guesses [B, most] of their middles.
    @param lengths [B] phones of each utterance.
    """
    batch, steps, _ = scores.shape
    most = phones.shape[1]
    said = scores.gather(2, phones[:, None].expand(-1, steps, -1)).clone()
    times = torch.arange(steps, device=scores.device)[None, :, None]
    away = (times - guesses[:, None]) / SPREAD
    # Silence lasts as long as it likes, before and after.
    away[:, :, 0].clamp_(min=0)
    last = (lengths - 1)[:, None, None].expand(-1, steps, 1)
    away.scatter_(2, last, away.gather(2, last).clamp(max=0))
    said -= 0.5 * away.square()
    said.masked_fill_(torch.arange(most, device=scores.device) >= lengths[:, None, None], -1e4)
    best = torch.full((batch, most), -1e4, device=scores.device)
    best[:, 0] = 0
    moves = []
    for step in range(steps):
        one = torch.nn.functional.pad(best, (1, 0), value=-1e4)[:, :-1]
        two = torch.nn.functional.pad(best, (2, 0), value=-1e4)[:, :-2] - PASSED_OVER
        best, move = torch.stack([best, one, two]).max(0)
        best = best + said[:, step]
        moves.append(move)
    place = best.argmax(1)
    path = []
    for move in reversed(moves):
        path.append(place)
        place = place - move.gather(1, place[:, None])[:, 0]
    found = phones.gather(1, torch.stack(path[::-1], 1))
    return found.masked_fill_((lengths == 2)[:, None], UNKNOWN)

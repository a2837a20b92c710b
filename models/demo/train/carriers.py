"""More wordings around the same words, so that the model has to spot words: "okay, could you … for me"."""

import pathlib
import random

from more_wordings import MORE_WORDINGS
from repertoire import FALLBACK, REPEAT, STORY, WORDINGS

_POLITE = """please; can you; could you; could you please; can you please; okay; hey; um; well; so; now; would you;
I want you to; excuse me; I would like you to; okay now; robin; hey robin; can you maybe; then""".split(";")
_ASKING = """okay; hey; um; so; well; excuse me; please tell me; can you tell me; I want to know; do you know; hello; and;
now tell me; by the way; I wonder; robin; hey robin; tell me; one question; another question; let me ask""".split(";")
_SHORT = "oh; okay; well; um; oh well; so; all right; ah; hm".split(";")
_ENDING = "please; for me; now; right now; my friend; today; if you can; robin; then; okay".split(";")
_SHORT_ENDING = "my friend; then; now; robin; indeed".split(";")
_THINGS = """spain; the moon; my brother; the radio; a taxi; the kitchen; the garden; some water; the bus; my doctor;
the bank; the door; two tickets; a hotel; the red car; your neighbor; the president; a new phone; the station; london;
the football game; my wedding; the movie; a sandwich; the lights; the printer; my email; the book; a horse; the museum;
the airport; a pair of shoes; the mountains; the university; a birthday cake; the police; a hammer; the newspaper""".split(";")
_TALK = """what is %s; where is %s; call %s; buy %s; how far is %s; turn on %s; find %s; open %s; I lost %s; I saw %s;
can you see %s; what do you know about %s; how old is %s; send %s to me; that is %s; remember %s; who has %s;
when does %s close; I am waiting for %s; she wants %s; we talked about %s; bring me %s; it is next to %s;
how much is %s; how heavy is %s; show me %s; do you need %s; who took %s; take me to %s; what about %s""".split(";")
_IMPERATIVES = set(
    """tell say count give teach make play call find open turn buy send help remember set add stop show list explain
sing repeat start do share let spell recite read name pick choose put describe compare use load switch bring take
wait introduce calculate solve multiply divide launch begin""".split()
)
_SHORT_KINDS = {"hello", "bye", "thanks", "yes", "no", "sorry", "wait", "kind", REPEAT}
_HELD_OUT = {text.lower() for kind in WORDINGS.values() for text in kind["heldOut"]}
# Shares of wordings that are drawn from spoken_wordings.txt, and made of patterns; of those, that are carried.
_SPOKEN, _PATTERN, _CARRIED = 0.45, 0.3, 0.4
LONGEST_WORDS = 12


def _clean(parts):
    return [" ".join(part.split()) for part in parts]


POLITE, ASKING, SHORT, ENDING, SHORT_ENDING, THINGS, TALK = map(
    _clean, (_POLITE, _ASKING, _SHORT, _ENDING, _SHORT_ENDING, _THINGS, _TALK)
)


def _read_spoken(path):
    """{kind: wordings} of a file with `[kind]` above the wordings of each, one a line."""
    spoken = {}
    for line in filter(None, path.read_text().splitlines()):
        if line.startswith("["):
            wordings = spoken[line.strip("[]")] = []
        else:
            wordings.append(line)
    return spoken


SPOKEN_WORDINGS = _read_spoken(pathlib.Path(__file__).with_name("spoken_wordings.txt"))


def is_held_out(text):
    return text.lower() in _HELD_OUT


def draw_wording(kind, draw: random.Random):
    """One wording of a kind, as spoken, plain, of a pattern, or carried; never one that is held out."""
    plain, spoken = WORDINGS[kind]["training"], SPOKEN_WORDINGS[kind]
    if kind == STORY:
        return draw.choice(plain + spoken)
    while True:
        source = draw.random()
        if source < _SPOKEN:
            text = draw.choice(spoken)
        elif source < _SPOKEN + _PATTERN and kind in MORE_WORDINGS:
            text = draw.choice(draw.choice(MORE_WORDINGS[kind]))
        elif source < _SPOKEN + _PATTERN and kind == FALLBACK:
            text = draw.choice(TALK) % draw.choice(THINGS)
        else:
            text = draw.choice(plain)
        if is_held_out(text):
            continue
        if draw.random() < _CARRIED:
            text = carried(text, kind, draw)
        if not is_held_out(text) and len(text.split()) <= LONGEST_WORDS:
            return text


def carried(text, kind, draw):
    is_short = kind in _SHORT_KINDS
    if is_short:
        before = SHORT
    elif text.split()[0].lower() in _IMPERATIVES:
        before = POLITE
    else:
        before = ASKING
    if draw.random() < 0.7:
        text = f"{draw.choice(before)} {text}"
    if draw.random() < 0.3 and not text.endswith("please"):
        text = f"{text} {draw.choice(SHORT_ENDING if is_short else ENDING)}"
    return text

"""Users' turns, and rooms without them, as the codec's convolutions hear them one by one; then as its codes.

The convolutions are the expensive part of the codec and stay as they are, so that whatever comes after them
can be trained, and turned into codes, at little cost.
"""

import numpy as np
import torch

import room
from codec import FRAME, STEPS
from ear import expected_phones, listen
from microphone import HeardTurn, SoundMicrophone, add_disturbances, add_noise
from phones import phones_of
from shard_files import read_shard, shard_paths, write_shard
from team import Team
from user_speech import DRAWN_WEIGHTS

TURNS, BATCH = 1_000, 50
# Frames of the room before a turn, and after it.
SHORTEST_LEAD, LONGEST_LEAD, TAIL = 4, 9, 6
ROOM_FRAMES, ROOMS = 256, 10
# The same turns are coded several times, with noise of these deviations on what the convolutions say, so that
# nobody learns their codes by heart.
CODED_WITH_NOISE = 0.0, 0.1, 0.15, 0.2
# Clips that are convolved at once: more of them do not fit a CPU's cache, and take four times as long.
FEW = 4


def hear_turns(folder, kind, numbers, users, codec, seed=0, turns=TURNS, device="cpu"):
    """Writes `folder`/KIND-NNN.npz: turn after turn of a shuffled list of all utterances, again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(users.items))
    for number in numbers:
        path = folder / f"{kind}-{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        places = (np.arange(turns) + number * turns) % len(order)
        # Turns of a batch are about as long as each other.
        chosen = sorted(order[places], key=lambda index: users.items[index]["samples"])
        heard = [
            one
            for first in range(0, turns, BATCH)
            for one in _hear(chosen[first : first + BATCH], users, codec, rng, device)
        ]
        write_shard(
            path,
            steps=np.concatenate([steps for steps, *_ in heard]),
            frames=[len(steps) // STEPS for steps, *_ in heard],
            **{
                name: [one[place] for one in heard]
                for place, name in enumerate(("lead", "offset", "samples", "item"), 1)
            },
            rooms=_rooms(users, codec, rng, device),
        )
        print(f"{path.name}: {turns} turns", flush=True)


def convolve(codec, pcm, device):
    """[B, frames * 1920] to [B, frames * STEPS, dimension] float16."""
    with torch.no_grad():
        steps = [codec.encoder(part.to(device)[:, None]) for part in torch.from_numpy(pcm).split(FEW)]
    return torch.cat(steps).transpose(1, 2).half().cpu().numpy()


def _hear(indices, users, codec, rng, device):
    """[(steps [n, dimension], frames of lead, samples of offset, samples, index)]"""
    microphone, spoken = SoundMicrophone(users, rng), []
    for index in indices:
        microphone.begin(0)
        lead = int(rng.integers(SHORTEST_LEAD, LONGEST_LEAD + 1))
        spoken.append((microphone.say(index), lead, microphone.gain))
    lengths = [lead + turn.frames + 1 + TAIL for turn, lead, _ in spoken]
    pcm = np.zeros((len(indices), max(lengths) * FRAME), np.float32)
    for row, (turn, lead, gain) in enumerate(spoken):
        first = lead * FRAME + turn.offset
        pcm[row, first : first + len(turn.pcm)] = turn.pcm
        add_noise(pcm[row], gain, rng)
    steps = convolve(codec, np.clip(pcm, -1, 1), device)
    return [
        (steps[row, : lengths[row] * STEPS], lead, turn.offset, turn.samples, index)
        for row, ((turn, lead, _), index) in enumerate(zip(spoken, indices))
    ]


def _rooms(users, codec, rng, device):
    """[ROOMS, ROOM_FRAMES * STEPS, dimension]: noise, knocks, other people's talk."""
    pcm = np.zeros((ROOMS, ROOM_FRAMES * FRAME), np.float32)
    for row in pcm:
        gain = room.level(rng)
        add_disturbances(row, users, gain, rng)
        add_noise(row, gain, rng)
    return convolve(codec, np.clip(pcm, -1, 1), device)


def code_turns(heard_folder, folder, kind, numbers, users, codec, ear, seed=0, device="cpu"):
    """Writes `folder`/KIND-NNN.npz: the turns of `heard_folder` with codes and phones in place of steps."""
    folder.mkdir(parents=True, exist_ok=True)
    phones = phones_of(item["text"] for item in users.items)
    for number in numbers:
        path = folder / f"{kind}-{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        shard = read_shard(heard_folder / path.name)
        steps, rooms = shard.pop("steps"), shard.pop("rooms")
        codes = [
            _code_one_by_one(codec, _with_noise(steps, noise, rng), shard["frames"], device)
            for noise in CODED_WITH_NOISE
        ]
        said = [phones[users.items[item]["text"]] for item in shard["item"]]
        write_shard(
            path,
            **shard,
            codes=np.stack(codes),
            phones=_phones_one_by_one(codec, ear, steps, shard, said, device),
            rooms=encode_steps(codec, rooms, device),
        )
        print(f"{path.name}: {len(shard['frames'])} turns coded", flush=True)


def _firsts(frames):
    """Where each of the turns begins, which lie on end."""
    return np.cumsum(frames) - frames


def _with_noise(steps, noise, rng):
    steps = steps.astype(np.float32)
    return steps + noise * steps.std() * rng.standard_normal(steps.shape, np.float32)


def _code_one_by_one(codec, steps, frames, device):
    """[frames * STEPS, dimension] of turns on end to [codebooks, frames]; turns do not hear each other."""
    codes = np.empty((codec.num_codebooks, int(frames.sum())), np.int16)
    for chosen, batch, spans in _batches(steps, frames):
        found = encode_steps(codec, batch, device)
        for row, span in enumerate(spans):
            codes[:, span] = found[row, :, : frames[chosen[row]]]
    return codes


def _phones_one_by_one(codec, ear, steps, shard, said, device):
    """[frames * STEPS] of turns on end. @param said Phones of each turn."""
    frames = shard["frames"]
    phones = np.empty(int(frames.sum()) * STEPS, np.int16)
    for chosen, batch, spans in _batches(steps, frames):
        begins = shard["lead"][chosen] * FRAME + shard["offset"][chosen]
        ends = begins + shard["samples"][chosen]
        expected = expected_phones(zip([said[place] for place in chosen], begins, ends))
        inputs = torch.from_numpy(batch).to(device).transpose(1, 2)
        found = listen(ear, codec, inputs, [part.to(device) for part in expected]).cpu().numpy()
        for row, span in enumerate(spans):
            length = frames[chosen[row]] * STEPS
            phones[span.start * STEPS : span.stop * STEPS] = found[row, :length]
    return phones


def _batches(steps, frames):
    """Yields (which turns, what the convolutions say of them [B, most * STEPS, dimension], the frames of each)."""
    order, firsts = np.argsort(frames), _firsts(frames)
    for begin in range(0, len(order), BATCH):
        chosen = order[begin : begin + BATCH]
        spans = [slice(first, first + length) for first, length in zip(firsts[chosen], frames[chosen])]
        batch = np.zeros((len(chosen), frames[chosen].max() * STEPS, steps.shape[1]), np.float32)
        for row, span in enumerate(spans):
            part = steps[span.start * STEPS : span.stop * STEPS]
            batch[row, : len(part)] = part
        yield chosen, batch, spans


class HeardTurns:
    """Turns of a kind, each with what the convolutions made of it, or with its codes."""

    def __init__(self, folder, kind, users, team=Team()):
        """@param team Each of its processes reads shards of its own, as far as there are enough."""
        self.items, self.shards, self.by_kind = users.items, [], {}
        paths = shard_paths(folder, kind)
        for path in paths[team.rank :: team.size] or paths:
            shard = read_shard(path)
            shard["first"] = _firsts(shard["frames"])
            for place, item in enumerate(shard["item"]):
                kind = self.items[item]["kind"]
                self.by_kind.setdefault(kind, []).append((len(self.shards), place))
            self.shards.append(shard)
        self.kinds = list(self.by_kind)
        weights = np.array([DRAWN_WEIGHTS[kind] for kind in self.kinds])
        self.weights = weights / weights.sum()

    def place(self, rng):
        """(shard, place within it) of a turn; kinds by their weights."""
        of_kind = self.by_kind[self.kinds[rng.choice(len(self.kinds), p=self.weights)]]
        number, place = of_kind[rng.integers(len(of_kind))]
        return self.shards[number], place

    def draw(self, rng):
        """A turn of shards that are coded, with one or another noise."""
        shard, place = self.place(rng)
        first, frames = shard["first"][place], shard["frames"][place]
        item = self.items[shard["item"][place]]
        codes = shard["codes"][rng.integers(len(shard["codes"]))]
        return HeardTurn(
            kind=item["kind"],
            text=item["text"],
            offset=int(shard["offset"][place]),
            samples=int(shard["samples"][place]),
            codes=codes[:, first : first + frames],
            phones=shard["phones"][first * STEPS : (first + frames) * STEPS],
            lead=int(shard["lead"][place]),
        )

    def draw_room(self, frames, rng):
        """[8, frames] of shards that are coded."""
        shard = self.shards[rng.integers(len(self.shards))]
        heard = shard["rooms"][rng.integers(len(shard["rooms"]))]
        return np.roll(heard, int(rng.integers(ROOM_FRAMES)), 1)[:, :frames]


def encode_steps(codec, steps, device):
    """[B, frames * STEPS, dimension] to [B, codebooks, frames] int16, frame by frame as at run time."""
    inputs = torch.from_numpy(steps).float().to(device).transpose(1, 2)
    codes = []
    with torch.no_grad(), codec.streaming(len(steps)):
        for first in range(0, inputs.shape[2], STEPS):
            (latent,) = codec.encoder_transformer(inputs[:, :, first : first + STEPS])
            codes.append(codec.quantizer.encode(codec._to_framerate(latent)))
    return torch.cat(codes, -1).cpu().numpy().astype(np.int16)

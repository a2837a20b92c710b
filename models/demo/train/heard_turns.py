"""Users' turns, and rooms without them, one by one: their sound in some room, then the codec's codes of it."""

import numpy as np
import torch

import room
from codec import DIMENSION, FRAME, STEPS, convolve
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
# The same turns are coded twice, with noise of these deviations on what the convolutions say, so that nobody
# learns their codes by heart.
CODED_WITH_NOISE = 0.0, 0.15
# Of int16.
FULL_SCALE = 32_767


def hear_turns(folder, kind, numbers, users, seed=0, turns=TURNS):
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
            for one in _hear(chosen[first : first + BATCH], users, rng)
        ]
        write_shard(
            path,
            sound=np.concatenate([sound for sound, *_ in heard]),
            frames=[len(sound) for sound, *_ in heard],
            **{
                name: [one[place] for one in heard]
                for place, name in enumerate(("lead", "offset", "samples", "item"), 1)
            },
            rooms=_rooms(users, rng),
        )
        print(f"{path.name}: {turns} turns", flush=True)


def _in_frames(pcm):
    """[…, frames * FRAME] float32 to […, frames, FRAME] int16."""
    return np.round(np.clip(pcm, -1, 1) * FULL_SCALE).astype(np.int16).reshape(*pcm.shape[:-1], -1, FRAME)


def _hear(indices, users, rng):
    """[(sound [frames, FRAME], frames of lead, samples of offset, samples, index)]"""
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
    sound = _in_frames(pcm)
    return [
        (sound[row, : lengths[row]], lead, turn.offset, turn.samples, index)
        for row, ((turn, lead, _), index) in enumerate(zip(spoken, indices))
    ]


def _rooms(users, rng):
    """[ROOMS, ROOM_FRAMES, FRAME]: noise, knocks, other people's talk."""
    pcm = np.zeros((ROOMS, ROOM_FRAMES * FRAME), np.float32)
    for row in pcm:
        gain = room.level(rng)
        add_disturbances(row, users, gain, rng)
        add_noise(row, gain, rng)
    return _in_frames(pcm)


def code_turns(heard_folder, folder, kind, numbers, users, codec, ear, seed=0, device="cpu"):
    """Writes `folder`/KIND-NNN.npz: the turns of `heard_folder` with codes and phones in place of sound."""
    folder.mkdir(parents=True, exist_ok=True)
    phones = phones_of(item["text"] for item in users.items)
    for number in numbers:
        path = folder / f"{kind}-{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        shard = read_shard(heard_folder / path.name)
        steps = _steps_one_by_one(codec, shard.pop("sound"), shard["frames"], device)
        rooms = hear_steps(codec, shard.pop("rooms"), device)
        said = [phones[users.items[item]["text"]] for item in shard["item"]]
        write_shard(
            path,
            **shard,
            codes=_codes_one_by_one(codec, steps, shard["frames"], rng, device),
            phones=_phones_one_by_one(codec, ear, steps, shard, said, device),
            rooms=encode_steps(codec, rooms, device),
        )
        print(f"{path.name}: {len(shard['frames'])} turns coded", flush=True)


def _firsts(frames):
    """Where each of the turns begins, which lie on end."""
    return np.cumsum(frames) - frames


def _steps_one_by_one(codec, sound, frames, device):
    """[frames, FRAME] of turns on end to [frames, STEPS, DIMENSION]; turns do not hear each other."""
    steps = np.empty((len(sound), STEPS, DIMENSION), np.float32)
    for chosen, batch, spans in _batches(sound, frames):
        found = hear_steps(codec, batch, device)
        for row, span in enumerate(spans):
            steps[span] = found[row, : frames[chosen[row]]]
    return steps


def _codes_one_by_one(codec, steps, frames, rng, device):
    """[frames, STEPS, DIMENSION] of turns on end to [noises, codebooks, frames]."""
    deviations = np.array(CODED_WITH_NOISE, np.float32)[:, None, None, None, None] * steps.std()
    codes = np.empty((len(deviations), codec.num_codebooks, int(frames.sum())), np.int16)
    for chosen, batch, spans in _batches(steps, frames):
        noises = rng.standard_normal((len(deviations), *batch.shape), np.float32)
        every = (batch + deviations * noises).reshape(-1, *batch.shape[1:])
        found = encode_steps(codec, every, device).reshape(*noises.shape[:2], -1, batch.shape[1])
        for row, span in enumerate(spans):
            codes[:, :, span] = found[:, row, :, : frames[chosen[row]]]
    return codes


def _phones_one_by_one(codec, ear, steps, shard, said, device):
    """[frames * STEPS] of turns on end. @param said Phones of each turn."""
    frames = shard["frames"]
    phones = np.empty(int(frames.sum()) * STEPS, np.int16)
    for chosen, batch, spans in _batches(steps, frames):
        begins = shard["lead"][chosen] * FRAME + shard["offset"][chosen]
        ends = begins + shard["samples"][chosen]
        expected = expected_phones(zip([said[place] for place in chosen], begins, ends))
        inputs = torch.from_numpy(batch).flatten(1, 2).to(device).transpose(1, 2)
        found = listen(ear, codec, inputs, [part.to(device) for part in expected]).cpu().numpy()
        for row, span in enumerate(spans):
            length = frames[chosen[row]] * STEPS
            phones[span.start * STEPS : span.stop * STEPS] = found[row, :length]
    return phones


def _batches(values, frames):
    """Yields (which turns, their values [B, most frames, …], where each of them lies in `values`).

    @param values [frames, …] of turns on end; @param frames Of each of them.
    """
    order, firsts = np.argsort(frames), _firsts(frames)
    for begin in range(0, len(order), BATCH):
        chosen = order[begin : begin + BATCH]
        spans = [slice(first, first + length) for first, length in zip(firsts[chosen], frames[chosen])]
        batch = np.zeros((len(chosen), frames[chosen].max(), *values.shape[1:]), values.dtype)
        for row, span in enumerate(spans):
            batch[row, : span.stop - span.start] = values[span]
        yield chosen, batch, spans


class HeardTurns:
    """Turns of a kind, each with its sound, or with its codes."""

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


def to_float(sound):
    """[B, frames, FRAME] int16 to [B, 1, frames * FRAME], as a codec takes it."""
    return torch.from_numpy(sound).flatten(1)[:, None].float() / FULL_SCALE


def hear_steps(codec, sound, device):
    """What the codec's convolutions say: [B, frames, FRAME] int16 to [B, frames, STEPS, DIMENSION]."""
    with torch.no_grad():
        steps = convolve(codec, to_float(sound).to(device)).transpose(1, 2).cpu().numpy()
    return steps.reshape(*sound.shape[:2], STEPS, DIMENSION)


def encode_steps(codec, steps, device):
    """[B, frames, STEPS, DIMENSION] to [B, codebooks, frames] int16, frame by frame as at run time."""
    inputs = torch.from_numpy(steps).flatten(1, 2).to(device).transpose(1, 2)
    codes = []
    with torch.no_grad(), codec.streaming(len(steps)):
        for first in range(0, inputs.shape[2], STEPS):
            (latent,) = codec.encoder_transformer(inputs[:, :, first : first + STEPS])
            codes.append(codec.quantizer.encode(codec._to_framerate(latent)))
    return torch.cat(codes, -1).cpu().numpy().astype(np.int16)

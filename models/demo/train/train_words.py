"""Teaches the codec's encoder and its codebooks what users say.

A reader that is thrown away afterwards sees the quantised frames. Its memory reads them as the language
model will, one after another, never ahead: it names the kind of the question and writes a transcript half a
second late. Its ear names the phones, in those frames alone and a few around them, which holds for
wordings that nobody has trained, too. What they get wrong teaches through the codebooks. The convolutions
learn by a shorter way as well: phones and a spectrum are read off what they say themselves. The decoder is
trained afterwards, on the codes that come out of this.
"""

import numpy as np
import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from torch import nn

from agent_streams import PAD
from codec import DIMENSION, FRAME, convolve, load_codec, quantise_steps, save_codec
from dialogue import ANSWER, NO_KIND
from ear import Ear, both, expected_phones, save_ear
from heard_turns import to_float
from mels import STEP_MELS, log_mels
from muon import MuonAndAdamW
from phones import PHONES, SILENCE, align, phones_of
from products import rounded_products
from repertoire import KINDS
from team import Team
from tokenizer import PIECES
from training_state import Averages, TrainingState, cosine_rate
from transcript import words_by_letters, write_words

FRAMES = 36
# Turns of a step, and stretches of the model's own lines, of each process.
USERS, LINES = 16, 1
READER_SIZE = 256
# Of frames that the memory does not see.
MISSED = 0.08
# Of the codec's; the reader's is a share of it. Kernels with fewer inputs are AdamW's.
PEAK_RATE, READER_SHARE, SMALLEST_INNER = 2.5e-3, 0.8, 32
# Steps in which the reader learns to read what the codec says so far. Without it a codec forgets: the first
# codebook shrinks from 239 to 87 of its codes within 200 steps.
READING_STEPS, WARM_UP_STEPS = 400, 200
# Steps in which phones are where their lengths say; afterwards they are where the ear hears them.
GUESSING_STEPS = 600
# Every turn is heard many times: louder or softer by up to so many dB, with white noise so far below it.
LOUDER_DB, NOISE_DB = 6, (-46, -22)
# Steps after which the codebooks stand still, so that all else settles.
MOVING_STEPS = 2_000
# Of the quantisation's own loss, of how far the quantised frames are from those before, of how far the model's
# own lines are from what they were; of what is read off the convolutions.
COMMITMENT, KEPT, LINES_KEPT, EARLY_PHONES, SPECTRUM = 0.25, 0.3, 0.3, 1.0, 0.5
# Of what is read off the codes.
KIND, WORDS, PHONES_SHARE = 0.3, 0.15, 2.0
VALIDATED, VALIDATE_EVERY = 240, 250


class Reader(nn.Module):
    """[B, frames, 2 * DIMENSION] to scores of kinds and of transcript pieces, frame by frame; and of phones,
    step by step."""

    def __init__(self):
        super().__init__()
        self.input = nn.Sequential(nn.Linear(2 * DIMENSION, READER_SIZE), nn.GELU(), nn.Dropout(0.1))
        self.memory = nn.GRU(READER_SIZE, READER_SIZE, 2, batch_first=True, dropout=0.1)
        self.kind = nn.Linear(READER_SIZE, len(KINDS))
        self.transcript = nn.Linear(READER_SIZE, PIECES)
        self.ear = Ear()
        self.early_phones = nn.Conv1d(DIMENSION, PHONES, 9, padding=4)
        self.spectrum = nn.Linear(DIMENSION, STEP_MELS)

    def forward(self, frames):
        seen = frames
        if self.training:
            seen = frames * (torch.rand(frames.shape[:2], device=frames.device) > MISSED)[..., None]
        state, _ = self.memory(self.input(seen))
        return self.kind(state), self.transcript(state), self.ear(frames)


class Turns:
    """Draws turns with what they ask and say."""

    def __init__(self, turns, tokenizer, rng):
        """@param turns HeardTurns with sound."""
        self.turns, self.tokenizer, self.rng = turns, tokenizer, rng
        self.phones = phones_of(item["text"] for item in turns.items)

    def draw(self, places=None):
        """(pcm [B, 1, FRAMES * FRAME], kinds [B, FRAMES], transcript [B, FRAMES], and what `expected_phones`
        gives).

        @param places Of the turns; drawn when absent.
        """
        if places is None:
            places = [self.turns.place(self.rng) for _ in range(USERS)]
        sound = np.zeros((len(places), FRAMES, FRAME), np.int16)
        kinds = np.full((len(places), FRAMES), NO_KIND, np.int64)
        transcript = np.full((len(places), FRAMES), PAD, np.int64)
        spoken = []
        for row, (shard, place) in enumerate(places):
            first, frames = shard["first"][place], shard["frames"][place]
            heard = shard["sound"][first : first + min(frames, FRAMES)]
            sound[row, : len(heard)] = heard
            item = self.turns.items[shard["item"][place]]
            begin = shard["lead"][place] * FRAME + shard["offset"][place]
            end_sample = begin + shard["samples"][place]
            words = words_by_letters(item["text"], begin, end_sample)
            write_words(transcript[row], self.tokenizer, words)
            transcript[row, frames:] = PAD
            end = end_sample // FRAME
            kinds[row, end : min(frames, end + ANSWER + 1)] = KINDS.index(item["kind"])
            spoken.append((self.phones[item["text"]], begin, end_sample))
        return (
            to_float(sound),
            torch.from_numpy(kinds),
            torch.from_numpy(transcript),
            *expected_phones(spoken),
        )


class Lines:
    """Draws stretches of the model's own lines, so that their codes stay apart from each other."""

    def __init__(self, sounds, rng):
        self.rng = rng
        pcm = np.concatenate([np.pad(pcm, (0, -len(pcm) % FRAME)) for pcm in sounds.values()])
        self.pcm = torch.from_numpy(pcm.astype(np.float32))

    def draw(self):
        """[LINES, 1, FRAMES * FRAME]"""
        last = len(self.pcm) // FRAME - FRAMES
        firsts = [int(self.rng.integers(last)) * FRAME for _ in range(LINES)]
        return torch.stack([self.pcm[None, first : first + FRAMES * FRAME] for first in firsts])


def vary(pcm):
    """Another level, and some noise. [B, 1, samples]"""
    rows = len(pcm), 1, 1
    noise_db = NOISE_DB[0] + (NOISE_DB[1] - NOISE_DB[0]) * torch.rand(rows)
    noise = pcm.std(2, keepdim=True) * 10 ** (noise_db / 20)
    louder = 10 ** (LOUDER_DB * (2 * torch.rand(rows) - 1) / 20)
    return louder.to(pcm.device) * (pcm + noise.to(pcm.device) * torch.randn_like(pcm))


def hear(codec, pcm):
    """(what the convolutions say [B, DIMENSION, frames * STEPS], and what `quantise_steps` gives)"""
    with rounded_products(pcm.device.type):
        steps = convolve(codec, pcm)
    steps = steps.float()
    return steps, *quantise_steps(codec, steps)


def share_codebooks(codec, team):
    """Codebooks follow what the leader hears: they are not learnt by gradients."""
    if team.size > 1:
        for codebook in codebooks(codec):
            distributed.broadcast(codebook.embedding_sum, 0)
            distributed.broadcast(codebook.cluster_usage, 0)
            codebook._embedding = None


def codebooks(codec):
    quantizers = codec.quantizer.rvq_first, codec.quantizer.rvq_rest
    return [layer._codebook for quantizer in quantizers for layer in quantizer.vq.layers]


def validate(codec, reader, reading, device):
    """Shares of turns whose kind is named right after their end, of pieces that are written, of phones."""
    codec.eval()
    reader.eval()
    turns = reading.turns
    places = [
        (shard, place)
        for shard in turns.shards
        for place in range(len(shard["item"]))
        if turns.items[shard["item"][place]]["family"] != "human"
        and shard["frames"][place] <= FRAMES
    ][:VALIDATED]
    with torch.no_grad():
        pcm, kinds, transcript, *phones = (x.to(device) for x in reading.draw(places))
        _, first, every, *_ = hear(codec, pcm)
        kind, written, scores = reader(both(first, every))
        last = kinds != NO_KIND
        last[:, :-1] &= ~last[:, 1:]
        kind_right = (kind.argmax(-1) == kinds)[last].float().mean()
        said = transcript > PAD
        piece_right = (written.argmax(-1) == transcript)[said].float().mean()
        aligned = align(scores.log_softmax(-1), *phones)
        phone_right = (scores.argmax(-1) == aligned)[aligned > SILENCE].float().mean()
    codec.train()
    reader.train()
    return f"kind {kind_right:.3f} heard {piece_right:.3f} phones {phone_right:.3f}"


def train_words(path, begin_path, turns, sounds, tokenizer, validation, steps, device, team=Team()):
    """Writes the codec, and its ear beside it.

    @param begin_path The codec to continue with; @param turns, validation HeardTurns, {name: HeardTurns}.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    codec = load_codec(begin_path).to(device)
    before = load_codec(begin_path).to(device)
    readings = {name: Turns(heard, tokenizer, rng) for name, heard in validation.items()}
    turns, lines = Turns(turns, tokenizer, rng), Lines(sounds, rng)
    codec.train()
    reader = Reader().to(device)
    quantizers = codec.quantizer.rvq_first, codec.quantizer.rvq_rest
    projections = [quantizer.input_proj for quantizer in quantizers]
    learning = nn.ModuleList(
        [codec.encoder, codec.encoder_transformer, codec.downsample, *projections]
    )
    inner = [p for p in learning.parameters() if p.dim() > 1 and p[0].numel() >= SMALLEST_INNER]
    others = [p for p in learning.parameters() if p.dim() == 1 or p[0].numel() < SMALLEST_INNER]
    readers = list(reader.parameters())
    all_parameters = [*learning.parameters(), *readers]
    optimizer = MuonAndAdamW(
        inner,
        [
            {"params": others, "share": 1.0},
            {"params": readers, "share": READER_SHARE, "weight_decay": 0.0},
        ],
    )
    state = TrainingState(path.with_suffix(".state"), [codec, reader], optimizer, rng)
    team.draw_apart(state)
    averages = Averages()
    while state.step < steps:
        is_reading = state.step < READING_STEPS
        codec.train(not is_reading)
        for codebook in codebooks(codec):
            codebook.train(not is_reading and state.step < MOVING_STEPS)
        users, kinds, transcript, *phones = (tensor.to(device) for tensor in turns.draw())
        own = lines.draw().to(device)
        pcm = torch.cat([vary(users), own])
        with torch.set_grad_enabled(not is_reading):
            heard, first, every, commitment, latent = hear(codec, pcm)
        with torch.no_grad():
            *_, latent_before = hear(before, own)
        kind, written, phone = reader(both(first[:USERS], every[:USERS]))
        early = reader.early_phones(heard[:USERS]).transpose(1, 2)
        spectrum = reader.spectrum(heard.transpose(1, 2))
        with torch.no_grad():
            aligned = align(phone.log_softmax(-1) * (state.step >= GUESSING_STEPS), *phones)
        written_loss = functional.cross_entropy(
            written.transpose(1, 2), transcript, reduction="none"
        )
        said = (transcript > PAD).float()
        losses = {
            "kind": KIND
            * functional.cross_entropy(
                kind.transpose(1, 2), kinds, ignore_index=NO_KIND, label_smoothing=0.05
            ),
            "words": WORDS * (written_loss.mean() + (written_loss * said).sum() / said.sum()),
            "phones": PHONES_SHARE * functional.cross_entropy(phone.transpose(1, 2), aligned),
            "early": EARLY_PHONES * functional.cross_entropy(early.transpose(1, 2), aligned),
            "spectrum": SPECTRUM * (spectrum - log_mels(pcm[:, 0])).pow(2).mean(),
            "commitment": COMMITMENT * commitment,
            "kept": KEPT * (every - latent).pow(2).mean() / latent.detach().pow(2).mean(),
            "lines": LINES_KEPT
            * (latent[USERS:] - latent_before).pow(2).mean()
            / latent_before.pow(2).mean(),
        }
        rate = cosine_rate(state.step, steps, 1.0)
        warm_up = 1.0 if is_reading else min(1.0, (state.step + 1 - READING_STEPS) / WARM_UP_STEPS)
        optimizer.set_rate(PEAK_RATE * rate * warm_up)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        parameters = readers if is_reading else all_parameters
        team.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        share_codebooks(codec, team)
        averages.add(**losses)
        with torch.no_grad():
            asked = kinds != NO_KIND
            averages.add(right=(kind.argmax(-1) == kinds)[asked].float().mean())
            averages.add(heard=((written.argmax(-1) == transcript) * said).sum() / said.sum())
            averages.add(ear=(phone.argmax(-1) == aligned)[aligned > SILENCE].float().mean())
            averages.add(soon=(early.argmax(-1) == aligned)[aligned > SILENCE].float().mean())
        state.advance()
        if state.step % 50 == 0 and team.leads:
            print(f"words {state.step}/{steps} {averages.take()}", flush=True)
        if team.leads and (state.step % VALIDATE_EVERY == 0 or state.step == steps):
            for name, reading in readings.items():
                print(f"  {name}: {validate(codec, reader, reading, device)}", flush=True)
    if team.leads:
        save_ear(reader.ear, path)
        save_codec(codec.eval(), path)
        state.finish()

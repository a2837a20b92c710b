"""Teaches the codec's codebooks, and the transformer before them, what users say.

A reader that is thrown away afterwards sees the quantised frames. Its memory reads them as the language
model will, one after another, never ahead: it names the kind of the question and writes a transcript half a
second late. Its ear names the phones, in those frames alone and a few around them, which holds for
wordings that nobody has trained, too. What they get wrong teaches through the codebooks. The convolutions
stay as train_codec.py left them, so that a turn is heard once for all steps; the decoder is trained
afterwards, on the codes that come out of this.
"""

import numpy as np
import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from torch import nn

from agent_streams import PAD
from codec import DIMENSION, FRAME, STEPS, load_codec, quantise_steps, save_codec
from dialogue import ANSWER, NO_KIND
from ear import Ear, both, expected_phones, save_ear
from heard_turns import convolve
from phones import SILENCE, align, phones_of
from repertoire import KINDS
from team import Team
from tokenizer import PIECES
from training_state import Averages, TrainingState, cosine_rate
from transcript import words_by_letters, write_words

FRAMES = 36
# Turns of a step, and stretches of the model's own lines, of each process.
USERS, LINES = 60, 4
READER_SIZE = 256
# Of frames that the memory does not see.
MISSED = 0.08
CODEC_RATE, READER_RATE = 8e-4, 2e-3
# Steps in which the reader learns to read what the codec says so far. Without it a codec forgets: the first
# codebook shrinks from 239 to 87 of its codes within 200 steps.
READING_STEPS = 1_000
# Steps in which phones are where their lengths say; afterwards they are where the ear hears them.
GUESSING_STEPS = 1_500
# Noise on what the convolutions say, in deviations of it: every turn is heard many times.
NOISE = 0.15
# Of the quantisation's own loss, and of how far the quantised frames are from those before.
COMMITMENT, KEPT = 0.25, 0.3
VALIDATED, VALIDATE_EVERY = 240, 500


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

    def forward(self, frames):
        seen = frames
        if self.training:
            seen = frames * (torch.rand(frames.shape[:2], device=frames.device) > MISSED)[..., None]
        state, _ = self.memory(self.input(seen))
        return self.kind(state), self.transcript(state), self.ear(frames)


class Turns:
    """Draws turns with what they ask and say."""

    def __init__(self, turns, tokenizer, rng):
        """@param turns HeardTurns with steps."""
        self.turns, self.tokenizer, self.rng = turns, tokenizer, rng
        self.phones = phones_of(item["text"] for item in turns.items)

    def draw(self, places=None):
        """(steps [B, dimension, FRAMES * STEPS], kinds [B, FRAMES], transcript [B, FRAMES], and what
        `expected_phones` gives).

        @param places Of the turns; drawn when absent.
        """
        if places is None:
            places = [self.turns.place(self.rng) for _ in range(USERS)]
        steps = np.zeros((len(places), FRAMES * STEPS, DIMENSION), np.float32)
        kinds = np.full((len(places), FRAMES), NO_KIND, np.int64)
        transcript = np.full((len(places), FRAMES), PAD, np.int64)
        spoken = []
        for row, (shard, place) in enumerate(places):
            first, frames = shard["first"][place], shard["frames"][place]
            heard = shard["steps"][first * STEPS : (first + min(frames, FRAMES)) * STEPS]
            steps[row, : len(heard)] = heard
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
            torch.from_numpy(steps).transpose(1, 2),
            torch.from_numpy(kinds),
            torch.from_numpy(transcript),
            *expected_phones(spoken),
        )


class Lines:
    """Draws stretches of the model's own lines, so that their codes stay apart from each other."""

    def __init__(self, codec, sounds, rng, device):
        self.rng = rng
        pcm = np.concatenate([np.pad(pcm, (0, -len(pcm) % FRAME)) for pcm in sounds.values()])
        self.steps = torch.from_numpy(convolve(codec, pcm[None], device)[0].astype(np.float32))

    def draw(self):
        """[LINES, dimension, FRAMES * STEPS]"""
        last = len(self.steps) // STEPS - FRAMES
        firsts = [int(self.rng.integers(last)) * STEPS for _ in range(LINES)]
        parts = [self.steps[first : first + FRAMES * STEPS] for first in firsts]
        return torch.stack(parts).transpose(1, 2)


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
        steps, kinds, transcript, *phones = (x.to(device) for x in reading.draw(places))
        kind, written, scores = reader(both(*quantise_steps(codec, steps)[:2]))
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
    readings = {name: Turns(heard, tokenizer, rng) for name, heard in validation.items()}
    turns, lines = Turns(turns, tokenizer, rng), Lines(codec, sounds, rng, device)
    codec.train()
    reader = Reader().to(device)
    learning = nn.ModuleList([codec.encoder_transformer, codec.downsample, codec.quantizer])
    groups = [
        {"params": list(learning.parameters()), "peak": CODEC_RATE, "weight_decay": 1e-3},
        {"params": list(reader.parameters()), "peak": READER_RATE, "weight_decay": 2e-2},
    ]
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    state = TrainingState(path.with_suffix(".state"), [codec, reader], optimizer, rng)
    team.draw_apart(state)
    averages = Averages()
    while state.step < steps:
        is_reading = state.step < READING_STEPS
        # The codebooks follow what they hear only while the rest learns, too.
        codec.train(not is_reading)
        heard, kinds, transcript, *phones = (tensor.to(device) for tensor in turns.draw())
        heard += NOISE * heard.std() * torch.randn_like(heard)
        with torch.set_grad_enabled(not is_reading):
            every_step = torch.cat([heard, lines.draw().to(device)])
            first, every, commitment, latent = quantise_steps(codec, every_step)
        kind, written, phone = reader(both(first[:USERS], every[:USERS]))
        with torch.no_grad():
            aligned = align(phone.log_softmax(-1) * (state.step >= GUESSING_STEPS), *phones)
        written_loss = functional.cross_entropy(
            written.transpose(1, 2), transcript, reduction="none"
        )
        said = (transcript > PAD).float()
        losses = {
            "kind": functional.cross_entropy(
                kind.transpose(1, 2), kinds, ignore_index=NO_KIND, label_smoothing=0.05
            ),
            "words": written_loss.mean() + (written_loss * said).sum() / said.sum(),
            "phones": functional.cross_entropy(phone.transpose(1, 2), aligned),
            "commitment": COMMITMENT * commitment,
            "kept": KEPT * (every - latent).pow(2).mean() / latent.detach().pow(2).mean(),
        }
        rate = cosine_rate(state.step, steps, 1.0)
        warm_up = min(1.0, max(0, state.step - READING_STEPS) / 200)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate * (warm_up if group is optimizer.param_groups[0] else 1)
        optimizer.zero_grad(set_to_none=False)
        sum(losses.values()).backward()
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

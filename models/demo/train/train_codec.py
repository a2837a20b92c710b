"""Trains encoder, quantiser and decoder of the small Mimi together; its first codebook hears words.

A step sees clips of 20 frames: the model's own lines, aligned to frames as in its streams, and users'
speech as microphones hear it. The first codebook learns what Whisper hears, whoever speaks: the teacher
heard the speaker, the codec hears a faster or slower one in some room. A second head, which sees some frames
around, names the piece of a word that is being said. Codebooks are fitted by k-means after `warm_steps` without
quantisation: fitted to an untrained encoder they collapse to a few codes.
"""

import math

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

import room
from codec import DIMENSION, FRAME, SAMPLE_RATE, build_codec, quantise, save_codec
from microphone import add_noise
from spectral_loss import spectral_loss
from tokenizer import PIECES
from training_state import Averages, TrainingState, cosine_rate

FRAMES = 20
SAMPLES = FRAMES * FRAME
# Clips of a step: lines, users' utterances, and how many of these are decoded.
LINES, USERS, DECODED_USERS = 4, 12, 1
PEAK_RATE = 1.2e-3
# Steps before the end of the warm-up whose latents the codebooks are fitted to.
FITTED_STEPS = 40
KMEANS_ROUNDS = 12
# The causal encoder is asked for what was said in these seconds around a frame's begin.
LOOK_BACK, LOOK_AHEAD = -0.06, 0.02
# Weight of the loss over pieces; functional.cross_entropy passes over those that are unknown.
PIECES_SHARE, UNKNOWN = 0.5, -100


class Heads(nn.Module):
    """Read the first codebook; thrown away after the training."""

    def __init__(self, components):
        super().__init__()
        self.meaning = nn.Linear(DIMENSION, components)
        self.pieces = nn.Sequential(
            nn.Conv1d(DIMENSION, 192, 5, padding=2), nn.GELU(), nn.Conv1d(192, PIECES + 1, 3, padding=1)
        )


class Clips:
    """Draws the clips of a step and what the teacher heard in them."""

    def __init__(self, users, lines, features, places, tokenizer, rng):
        self.tokenizer = tokenizer
        self.users, self.features, self.places, self.rng = users, features, places, rng
        self.pool = [int(name[2:]) for name in places if name.startswith("u:")]
        self.names = list(lines)
        self.frames = {name: math.ceil(len(pcm) / FRAME) for name, pcm in lines.items()}
        self.padded = {
            name: np.pad(pcm, (SAMPLES, self.frames[name] * FRAME - len(pcm) + SAMPLES))
            for name, pcm in lines.items()
        }
        weights = np.array([self.frames[name] + FRAMES for name in self.names], float)
        self.weights = weights / weights.sum()

    def draw(self):
        """(pcm [B, SAMPLES], target [B, FRAMES, components], mask [B, FRAMES], pieces [B, FRAMES])

        Pieces count from 1, 0 is silence; -100 where they are not known.
        """
        batch = LINES + USERS
        pcm = np.zeros((batch, SAMPLES), np.float32)
        target = np.zeros((batch, FRAMES, self.features.shape[1]), np.float32)
        mask = np.zeros((batch, FRAMES), np.float32)
        pieces = np.full((batch, FRAMES), UNKNOWN, np.int64)
        for row in range(batch):
            draw = self._line if row < LINES else self._user
            draw(pcm[row], target[row], mask[row], pieces[row])
        return [torch.from_numpy(array) for array in (pcm, target, mask, pieces)]

    def _line(self, pcm, target, mask, pieces):
        name = self.names[self.rng.choice(len(self.names), p=self.weights)]
        first = int(self.rng.integers(0, self.frames[name] + FRAMES))
        pcm[:] = self.padded[name][first * FRAME : first * FRAME + SAMPLES]
        self._teach(f"a:{name}", (FRAMES - first) * FRAME, 1.0, target, mask)

    def _user(self, pcm, target, mask, pieces):
        rng = self.rng
        index = self.pool[rng.integers(len(self.pool))]
        speech, speed = room.other_speaker(self.users.pcm(index), rng)
        speech = room.colour(speech, rng)
        if len(speech) > SAMPLES // 2:
            begin = int(rng.integers(SAMPLES // 2 - len(speech), SAMPLES // 2))
        else:
            begin = int(rng.integers(0, SAMPLES - len(speech)))
        low, high = max(0, begin), min(SAMPLES, begin + len(speech))
        gain = room.level(rng)
        pcm[low:high] = speech[low - begin : high - begin] * gain
        add_noise(pcm, gain, rng)
        self._teach(f"u:{index}", begin, speed, target, mask)
        spoken = self.tokenizer.encode(self.users.items[index]["text"].lower())
        ends = np.cumsum([len(self.tokenizer.id_to_piece(piece)) for piece in spoken])
        for frame in range(FRAMES):
            # Pieces take time by their letters; the first letter is the space before a word.
            place = (frame * FRAME - begin) / len(speech) * ends[-1]
            is_spoken = 0 <= place < ends[-1]
            pieces[frame] = 1 + spoken[np.searchsorted(ends, place, "right")] if is_spoken else 0

    def _teach(self, place, begin, speed, target, mask):
        first, count = self.places[place]
        rows = self.features[first : first + count].astype(np.float32)
        for frame in range(FRAMES):
            centre = (frame * FRAME - begin) / SAMPLE_RATE * speed
            low = round((centre + LOOK_BACK) / 0.02)
            high = round((centre + LOOK_AHEAD) / 0.02)
            if low >= 0 and high <= len(rows):
                target[frame] = rows[low:high].mean(0)
                mask[frame] = 1


def fit_codebooks(quantizer, latents):
    """Residual k-means; [N, dim]."""
    from moshi.quantization.core_vq import _run_kmeans

    per_step = len(latents) / FITTED_STEPS
    for layer in quantizer.vq.layers:
        codebook = layer._codebook
        centroids, counts = _run_kmeans(latents, codebook.codebook_size, KMEANS_ROUNDS)
        usage = counts.float() / counts.sum() * per_step
        codebook.embedding_sum.copy_(centroids * usage[:, None])
        codebook.cluster_usage.copy_(usage)
        codebook._initialized.fill_(1)
        codebook._embedding = None
        latents = latents - centroids[torch.cdist(latents, centroids).argmin(1)]


def quantise_or_warm_up(codec, latent, step, warm_steps, bank):
    """As `quantise`; unquantised during the warm-up."""
    if step >= warm_steps:
        return quantise(codec, latent)
    quantizers = codec.quantizer.rvq_first, codec.quantizer.rvq_rest
    inner = [quantizer.input_proj(latent) for quantizer in quantizers]
    outer = [quantizer.output_proj(x) for quantizer, x in zip(quantizers, inner)]
    if step >= warm_steps - FITTED_STEPS:
        for vectors, x in zip(bank, inner):
            vectors.append(x.detach().transpose(1, 2).reshape(-1, x.shape[1]))
    if step == warm_steps - 1:
        for quantizer, vectors in zip(quantizers, bank):
            fit_codebooks(quantizer, torch.cat(vectors))
    penalty = 1e-3 * sum(x.pow(2).mean() for x in inner)
    return outer[0], outer[0] + outer[1], penalty


def train_codec(path, users, lines, features, places, tokenizer, steps, warm_steps, device):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    clips = Clips(users, lines, features, places, tokenizer, rng)
    # get_mimi returns a codec that is evaluated: its quantiser would never learn.
    codec = build_codec().to(device).train()
    heads = Heads(features.shape[1]).to(device)
    parameters = [*codec.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.8, 0.99), weight_decay=1e-3)
    state = TrainingState(path.with_suffix(".state"), [codec, heads], optimizer, rng)
    bank, averages = ([], []), Averages()
    while state.step < steps:
        pcm, target, mask, pieces = (tensor.to(device) for tensor in clips.draw())
        latent = codec.encoder(pcm[:, None])
        (latent,) = codec.encoder_transformer(latent)
        latent = codec._to_framerate(latent)
        first, every, commitment = quantise_or_warm_up(codec, latent, state.step, warm_steps, bank)
        decoded = LINES + DECODED_USERS
        (hidden,) = codec.decoder_transformer(codec._to_encoder_framerate(every[:decoded]))
        sound = codec.decoder(hidden)[..., :SAMPLES][:, 0]
        heard = heads.meaning(first.transpose(1, 2))
        words = functional.cross_entropy(heads.pieces(first), pieces, ignore_index=UNKNOWN)
        wrong = ((heard - target) ** 2).mean(-1) + 1 - functional.cosine_similarity(heard, target, -1)
        meaning = (wrong * mask).sum() / mask.sum().clamp(min=1)
        line = spectral_loss(sound[:LINES], pcm[:LINES])
        user = spectral_loss(sound[LINES:], pcm[LINES:decoded])
        wave = (sound[:LINES] - pcm[:LINES]).abs().mean()
        loss = 2 * line + 0.5 * user + 5 * wave + meaning + PIECES_SHARE * words + 0.5 * commitment
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(state.step, steps, PEAK_RATE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        averages.add(line=line, user=user, wave=wave, meaning=meaning, words=words)
        averages.add(commitment=commitment)
        # A state from within the fit would lack the latents that were collected before it.
        is_fitting = warm_steps - FITTED_STEPS <= state.step + 1 < warm_steps
        state.every = steps + 1 if is_fitting else 200
        state.advance()
        if state.step % 50 == 0:
            print(f"codec {state.step}/{steps} {averages.take()}", flush=True)
    codec.eval()
    save_codec(codec, path)
    state.finish()

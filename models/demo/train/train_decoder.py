"""Trains the decoder alone, on exactly the streams that the model will say: makes its voice clear.

Encoder and quantiser stay, so the language model can be trained at the same time.
"""

import numpy as np
import torch
from torch import nn

from codec import FRAME, load_codec, save_codec
from spectral_loss import spectral_loss
from training_state import Averages, TrainingState, cosine_rate

# Streams of a step, frames of a stream.
STREAMS, FRAMES = 3, 64
PEAK_RATE = 1.2e-3
# Lines that end early, as when the model is interrupted, with the samples of their fade.
CUT_SHARE, FADE = 0.12, 360


class Streams:
    """Silence, a line with its tail, silence, …"""

    def __init__(self, agent, rng):
        self.agent, self.rng, self.bag = agent, rng, []
        self.silence = torch.from_numpy(agent.silence.astype(np.int64))[:, None]

    def draw(self):
        """(codes [8, FRAMES], pcm [FRAMES * 1920])"""
        begin = int(self.rng.integers(1, 4))
        codes, sounds = [self.silence.expand(-1, begin)], [np.zeros(begin * FRAME, np.float32)]
        frames = begin
        while frames < FRAMES:
            line, pcm = self._line()
            gap = int(self.rng.integers(1, 8))
            codes += [line, self.silence.expand(-1, gap)]
            sounds += [pcm, np.zeros(gap * FRAME, np.float32)]
            frames += line.shape[1] + gap
        sound = np.concatenate(sounds)[: FRAMES * FRAME]
        return torch.cat(codes, 1)[:, :FRAMES], torch.from_numpy(sound)

    def _line(self):
        if not self.bag:
            self.bag = list(self.rng.permutation(list(self.agent.codes)))
        name = self.bag.pop()
        codes = torch.from_numpy(self.agent.codes[name].astype(np.int64))
        pcm = np.zeros(codes.shape[1] * FRAME, np.float32)
        pcm[: len(self.agent.sounds[name])] = self.agent.sounds[name]
        if self.rng.random() < CUT_SHARE:
            cut = int(self.rng.integers(2, codes.shape[1]))
            codes, pcm = codes[:, :cut], pcm[: cut * FRAME].copy()
            pcm[-FADE:] *= np.linspace(1, 0, FADE, dtype=np.float32)
        return codes, pcm


def train_decoder(source, path, agent, steps, device):
    """Reads the codec at `source`, writes the one with the better decoder to `path`."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    codec = load_codec(source).to(device)
    for name, parameter in codec.named_parameters():
        parameter.requires_grad_(name.startswith(("decoder", "upsample")))
    parameters = [parameter for parameter in codec.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.8, 0.99), weight_decay=1e-4)
    state = TrainingState(path.with_suffix(".state"), [codec], optimizer, rng)
    streams, averages = Streams(agent, rng), Averages()
    while state.step < steps:
        drawn = [streams.draw() for _ in range(STREAMS)]
        codes, pcm = (torch.stack(part).to(device) for part in zip(*drawn))
        with torch.no_grad():
            latent = codec.decode_latent(codes)
        (hidden,) = codec.decoder_transformer(codec._to_encoder_framerate(latent))
        sound = codec.decoder(hidden)[..., : FRAMES * FRAME][:, 0]
        spectrum, wave = spectral_loss(sound, pcm), (sound - pcm).abs().mean()
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(state.step, steps, PEAK_RATE)
        optimizer.zero_grad()
        (2 * spectrum + 10 * wave).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        averages.add(spectrum=spectrum, wave=wave)
        state.advance()
        if state.step % 50 == 0:
            print(f"decoder {state.step}/{steps} {averages.take()}", flush=True)
    save_codec(codec, path)
    state.finish()

"""The shape of the small Mimi, in Kyutai's own classes."""

import os

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import torch
from moshi.models import loaders
from safetensors.torch import load_file, save_file

SAMPLE_RATE, FRAME = 24_000, 1_920
DIMENSION, CODEBOOKS, CODES = 128, 8, 256
# Steps of the convolutions in a frame.
STEPS = 2
# Clips that are convolved at once: more of them do not fit a CPU's cache, and take four times as long.
FEW = 4

torch.set_flush_denormal(True)


class FastElu(torch.autograd.Function):
    """ELU by the vectorised exp: torch's own is scalar on CPUs, and was the codec's largest cost."""

    @staticmethod
    def forward(context, x):
        # exp(x) - 1 is never below x, and 0 where x is positive.
        y = torch.maximum(x.clamp(max=0).exp_().sub_(1), x)
        context.save_for_backward(y)
        return y

    @staticmethod
    def backward(context, gradient):
        (y,) = context.saved_tensors
        return y.clamp(max=0).add_(1).mul_(gradient)


torch.nn.ELU.forward = lambda self, x: FastElu.apply(x)


def codec_config():
    """mimi_config.json."""
    seanet = dict(loaders._seanet_kwargs, n_filters=16, dimension=DIMENSION)
    quantizer = dict(
        dimension=32,
        n_q=CODEBOOKS,
        bins=CODES,
        input_dimension=DIMENSION,
        output_dimension=DIMENSION,
    )
    transformer = dict(
        loaders._transformer_kwargs,
        d_model=DIMENSION,
        num_heads=4,
        num_layers=2,
        context=32,
        layer_scale=0.1,
        dim_feedforward=256,
        input_dimension=DIMENSION,
        output_dimensions=[DIMENSION],
    )
    return dict(
        sample_rate=SAMPLE_RATE,
        channels=1,
        frame_rate=12.5,
        seanet=seanet,
        quantizer=quantizer,
        transformer=transformer,
    )


def build_codec():
    return loaders.get_mimi(None, codec_config(), num_codebooks=CODEBOOKS)


def load_codec(path):
    codec = build_codec()
    codec.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return codec.eval()


def save_codec(codec, path):
    """Rounded to bfloat16, as it is published: what comes later sees the same codes."""
    state = codec.state_dict()
    save_file({n: v.detach().cpu().to(torch.bfloat16).contiguous() for n, v in state.items()}, path)


def convolve(codec, pcm):
    """What the convolutions say: [B, 1, frames * FRAME] to [B, DIMENSION, frames * STEPS]."""
    return torch.cat([codec.encoder(part) for part in pcm.split(FEW)])


def quantise(codec, latent):
    """(what the first codebook says, what all say, penalty); gradients pass the codebooks."""
    first = codec.quantizer.rvq_first(latent, 12.5)
    rest = codec.quantizer.rvq_rest(latent, 12.5)
    return first.x, first.x + rest.x, first.penalty + rest.penalty


def quantise_steps(codec, steps):
    """(what the first codebook says, what all say, penalty, frames before); all but the penalty
    [B, DIMENSION, frames]. @param steps [B, DIMENSION, frames * STEPS] What the convolutions say."""
    (latent,) = codec.encoder_transformer(steps)
    latent = codec._to_framerate(latent)
    return *quantise(codec, latent), latent


def silent_codes(codec):
    """[codebooks] int16 of digital silence, long after its begin."""
    with torch.no_grad():
        return codec.encode(torch.zeros(1, 1, 60 * FRAME))[0, :, -1].numpy().astype("int16")


def encode_streaming(codec, pcm):
    """Frame by frame, as at run time: whole files differ a little in the deeper levels.

    [batch, samples] to [batch, codebooks, frames] int64.
    """
    frames = pcm.shape[-1] // FRAME
    with torch.no_grad(), codec.streaming(len(pcm)):
        codes = [codec.encode(pcm[:, None, t * FRAME : (t + 1) * FRAME]) for t in range(frames)]
    return torch.cat(codes, -1)

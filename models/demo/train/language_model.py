"""The shape of the small Moshi, in Kyutai's own class, and what its training begins from."""

import os

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import re

import torch
from moshi.models import loaders
from safetensors.torch import load_file
from torch import nn

from codec import CODEBOOKS, CODES
from tokenizer import PIECES

CONFIG = dict(
    dim=192,
    num_layers=4,
    num_heads=4,
    hidden_scale=4.125,
    context=125,
    causal=True,
    layer_scale=None,
    max_period=10_000,
    gating="silu",
    norm="rms_norm_f32",
    positional_embedding="rope",
    text_card=PIECES,
    existing_text_padding_id=3,
    card=CODES,
    n_q=2 * CODEBOOKS,
    dep_q=CODEBOOKS,
    delays=[0, 0] + [1] * (CODEBOOKS - 1) + [0] + [1] * (CODEBOOKS - 1),
    depformer_dim=64,
    depformer_dim_feedforward=264,
    depformer_num_heads=2,
    depformer_num_layers=2,
    depformer_causal=True,
    depformer_layer_scale=None,
    depformer_multi_linear=True,
    depformer_context=8,
    depformer_max_period=10_000,
    depformer_gating="silu",
    depformer_pos_emb="none",
    depformer_weights_per_step=True,
)


def build_language_model():
    return loaders.get_moshi_lm(
        None, lm_kwargs=dict(CONFIG), device="cpu", dtype=torch.float32
    )


def is_user_embedding(name):
    return name.startswith("emb.") and int(name.split(".")[1]) >= CODEBOOKS


def inner_matrices(model):
    """(matrices inside the transformers, {name: parameter} of all else)"""
    inner, others = [], {}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and name.startswith(("transformer.", "depformer.")):
            inner.append(parameter)
        else:
            others[name] = parameter
    return inner, others


def initialise(model, codec_path):
    """Matrices by their width; the embeddings of users' codes from the codec's centroids."""
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name.endswith("alpha"):
            continue
        if "emb" in name:
            nn.init.normal_(parameter, std=0.3 if name.startswith(("emb", "text_emb")) else 0.5)
        else:
            scale = 0.5 if "linear_out" in name or "out_proj" in name else 1.0
            nn.init.normal_(parameter, std=scale / parameter.shape[-1] ** 0.5)
    project_centroids(model, codec_path)


def project_centroids(model, codec_path):
    """Codes that sound alike begin alike: the biggest single gain for understanding."""
    weights = {name: value.float() for name, value in load_file(codec_path).items()}
    generator = torch.Generator().manual_seed(3)
    quantizers = (("rvq_first", 0, 1, 0.8), ("rvq_rest", 1, CODEBOOKS - 1, 0.7))
    # A model that only listens has no codes of its own before the users'.
    for name, first, levels, scale in quantizers:
        output = weights[f"quantizer.{name}.output_proj.weight"][:, :, 0]
        projection = torch.randn(len(output), model.dim, generator=generator) / len(output) ** 0.5
        centroids = []
        for level in range(levels):
            codebook = f"quantizer.{name}.vq.layers.{level}._codebook"
            usage = weights[f"{codebook}.cluster_usage"].clamp(min=1e-5)[:, None]
            level_centroids = weights[f"{codebook}.embedding_sum"] / usage @ output.T
            centroids.append(level_centroids - level_centroids.mean(0))
        power = sum(one.pow(2).mean() for one in centroids) ** 0.5
        for level, one in enumerate(centroids):
            table = model.emb[model.dep_q + first + level].weight.data
            table[: len(one)] = one / power * scale @ projection


def published_names(state):
    """in_projs.N to in_proj_weight, out_projs.N to out_proj.weight: the names of published files."""
    groups, renamed = {}, {}
    for name, value in state.items():
        match = re.match(r"(.*self_attn\.)(in|out)_projs\.(\d+)\.weight$", name)
        if match:
            groups.setdefault(match.group(1, 2), {})[int(match[3])] = value
        else:
            renamed[name] = value
    for (prefix, side), parts in groups.items():
        name = "in_proj_weight" if side == "in" else "out_proj.weight"
        renamed[prefix + name] = torch.cat([parts[step] for step in sorted(parts)], 0)
    return renamed

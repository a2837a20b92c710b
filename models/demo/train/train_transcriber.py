"""Trains a tiny speech-to-text model of the same domain, in the layout of kyutai/stt-1b-en_fr.

It hears the same codec and writes what users say, half a second late; it begins as the part of the language
model that listens, which has learnt to do the same. Four more heads tell whether the
user will be silent for the next 0.5, 1, 2 and 3 seconds: class 0 yes, class 1 no, the others never.
"""

import torch
import torch.nn.functional as functional
from moshi.models import loaders
from moshi.models.lm_utils import _delay_sequence
from safetensors.torch import load_file, save_file
from torch import nn

from agent_streams import PAD
from codec import CODEBOOKS
from language_model import CONFIG as MOSHI_CONFIG
from train_language_model import transcript_head_path
from training_state import Averages, TrainingState, cosine_rate

HORIZONS = (6, 12, 25, 38)
CLASSES = 6
SHARED = (
    "dim num_layers num_heads hidden_scale context causal layer_scale max_period gating norm "
    "positional_embedding text_card existing_text_padding_id card depformer_multi_linear"
).split()
CONFIG = {name: MOSHI_CONFIG[name] for name in SHARED} | dict(
    n_q=CODEBOOKS,
    dep_q=0,
    delays=[0] * (1 + CODEBOOKS),
    extra_heads_num_heads=len(HORIZONS),
    extra_heads_dim=CLASSES,
)
BATCH, PEAK_RATE = 16, 1.5e-3
CORRUPTED = 0.04


def build_transcriber():
    return loaders.get_moshi_lm(None, lm_kwargs=dict(CONFIG), device="cpu", dtype=torch.float32)


def begin_as_listener(model, language_model_path, silence):
    """Takes the users' embeddings, the transformer, and the head that transcribed, from the language model.

    Every text token begins as what the language model saw of itself while it said nothing.

    @param silence [codebooks] Its codes then.
    """
    trained = load_file(language_model_path)
    head = load_file(transcript_head_path(language_model_path))["weight"]
    state = model.state_dict()
    for name in state:
        source = name
        if name.startswith("emb."):
            _, level, rest = name.split(".", 2)
            source = f"emb.{int(level) + CODEBOOKS}.{rest}"
        if name == "text_linear.weight":
            state[name] = head
        elif source in trained:
            assert trained[source].shape == state[name].shape, name
            state[name] = trained[source]
        else:
            print(f"begins anew: {name}")
    said_nothing = trained["text_emb.weight"][PAD].clone()
    for level, code in enumerate(silence):
        said_nothing += trained[f"emb.{level}.weight"][int(code)]
    state["text_emb.weight"] = said_nothing.expand_as(state["text_emb.weight"]).clone()
    model.load_state_dict(state)


def pause_classes(speech):
    """[B, T] to [B, heads, T]: 0 where nothing is said in the frames that follow, 1 elsewhere."""
    padded = functional.pad(speech.float(), (0, max(HORIZONS)))
    windows = [padded.unfold(1, horizon, 1)[:, 1 : 1 + speech.shape[1]] for horizon in HORIZONS]
    return torch.stack([window.amax(-1) > 0 for window in windows], 1).long()


def losses(model, batch, corrupts):
    """{name: loss}, {name: share that is right}."""
    codes = torch.cat([batch["transcript"][:, None], batch["user"]], 1)
    rows, streams, frames = codes.shape
    initial = model._get_initial_token().expand(rows, -1, -1)
    sequence = torch.cat([initial, _delay_sequence(model.delays, codes, initial)], 2)
    inputs, targets = sequence[:, :, :-1], sequence[:, 0, 1:]
    if corrupts:
        chosen = torch.rand(inputs.shape, device=codes.device) < CORRUPTED
        chosen[:, :, 0] = False
        others = torch.randint(0, model.card, inputs.shape, device=codes.device)
        others[:, 0] = PAD
        inputs = torch.where(chosen, others, inputs)
    hidden, text = model.forward_text(inputs)
    text = text[:, 0]
    text_loss = functional.cross_entropy(text.transpose(1, 2), targets, reduction="none")
    words = (targets != PAD).float()
    expected = pause_classes(batch["speech"])
    pauses = torch.stack([head(hidden) for head in model.extra_heads], 1)
    pause_loss = functional.cross_entropy(pauses.permute(0, 3, 1, 2), expected)
    found = {
        "text": 4 * text_loss.mean() + (text_loss * words).sum() / words.sum(),
        "pause": pause_loss,
    }
    with torch.no_grad():
        right = {
            "word": ((text.argmax(-1) == targets) * words).sum() / words.sum(),
            "pause": (pauses.argmax(-1) == expected).float().mean(),
        }
    return found, right


def train_transcriber(path, language_model_path, batches, validation, steps, device):
    """@param batches TrainingBatches; @param validation {name: DialogueStore}."""
    torch.manual_seed(2)
    model = build_transcriber()
    begin_as_listener(model, language_model_path, batches.agent.silence)
    model.to(device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    state = TrainingState(path.with_suffix(".state"), [model], optimizer, batches.rng)
    averages = Averages()
    while state.step < steps:
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(state.step, steps, PEAK_RATE, warm_up=60, lowest=0.02)
        with torch.autocast(device, torch.bfloat16):
            found, right = losses(model, batches.take(BATCH, device), True)
        optimizer.zero_grad()
        sum(found.values()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        averages.add(**found, **{f"{name}-right": value for name, value in right.items()})
        state.advance()
        if state.step % 25 == 0:
            print(f"transcriber {state.step}/{steps} {averages.take()}", flush=True)
    model.eval()
    for name, store in validation.items():
        with torch.no_grad():
            _, right = losses(model, store.take(torch.arange(min(64, store.size)), device), False)
        shares = " ".join(f"{part} {float(share):.3f}" for part, share in right.items())
        print(f"  {name}: {shares}", flush=True)
    save_file({n: v.detach().cpu().contiguous() for n, v in model.state_dict().items()}, path)
    state.finish()

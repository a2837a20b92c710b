"""Trains the small Moshi on the simulated dialogues.

It differs from LMModel.forward in this: the depth transformer runs on the frames in which the model
speaks and a few others; input tokens are corrupted a little; four heads that are thrown away afterwards
read the state: the kind of the question, whether the user speaks, and what, as a transcript half a second
late and as phones a little late. The last two make the state listen to words rather than to whole phrases.
"""

import torch
import torch.nn.functional as functional
from moshi.models.lm_utils import _delay_sequence
from safetensors.torch import save_file
from torch import nn

from codec import CODEBOOKS, STEPS
from dialogue import NO_KIND
from agent_streams import PAD
from language_model import (
    CONFIG,
    build_language_model,
    initialise,
    inner_matrices,
    is_user_embedding,
)
from muon import MuonAndAdamW
from phones import PHONES, SILENCE, UNKNOWN
from products import rounded_products
from repertoire import KINDS
from team import Team
from training_state import Averages, TrainingState, cosine_rate

# Dialogues of a step, of each process.
BATCH, PEAK_RATE = 16, 1.5e-3
# Of the rate, for the embeddings of users' codes: they begin where they should be.
TABLES_SHARE = 0.3
# Share of the tokens that are replaced by others, of the user's frames that are not heard, and of
# conversations that lack one of the user's levels.
CORRUPTED, MISSED, LEVEL_DROPPED = 0.06, 0.08, 0.15
# Share of the model's spoken frames whose codes are learnt: all lines are known after a few hundred steps.
EARLY_STEPS, EARLY_SHARE, LATER_SHARE, SILENT_SHARE = 300, 0.5, 0.12, 0.03
# Frames from a phone to its name: one in which it is heard, and two in which it is understood.
PHONES_LATE = 3
VALIDATED, VALIDATE_EVERY = 64, 400


class Heads(nn.Module):
    """Thrown away after the training."""

    def __init__(self):
        super().__init__()
        self.kind = nn.Linear(CONFIG["dim"], len(KINDS))
        self.speech = nn.Linear(CONFIG["dim"], 1)
        self.transcript = nn.Linear(CONFIG["dim"], CONFIG["text_card"])
        self.phones = nn.Linear(CONFIG["dim"], STEPS * PHONES)


def corrupt(tokens, card):
    """[B, K, T] with some tokens replaced, and now and then a frame or a whole level of the user missing."""
    batch, streams, frames = tokens.shape
    device = tokens.device
    chosen = torch.rand(batch, streams, frames, device=device) < CORRUPTED
    chosen[:, 0] &= torch.rand(batch, frames, device=device) < 0.3
    chosen[:, :, :2] = False
    others = torch.randint(0, card, tokens.shape, device=device)
    others[:, 0] = PAD
    tokens = torch.where(chosen, others, tokens)
    dropped = torch.rand(batch, CODEBOOKS, 1, device=device) < LEVEL_DROPPED
    dropped[:, 0] = False
    user = tokens[:, 1 + CODEBOOKS :]
    missed = torch.rand(batch, 1, frames, device=device) < MISSED
    user = torch.where((dropped | missed).expand_as(user), torch.full_like(user, -1), user)
    return torch.cat([tokens[:, : 1 + CODEBOOKS], user], 1)


def losses(model, heads, batch, corrupts, spoken_share):
    """{name: loss}, {name: share that is right}."""
    codes = torch.cat([batch["text"][:, None], batch["agent"], batch["user"]], 1)
    rows, _, frames = codes.shape
    initial = model._get_initial_token().expand(rows, -1, -1)
    sequence = torch.cat([initial, _delay_sequence(model.delays, codes, initial)], 2)
    inputs, targets = sequence[:, :, :-1], sequence[:, :, 1:]
    if corrupts:
        inputs = corrupt(inputs, model.card)
    hidden, text = model.forward_text(inputs)
    text = text[:, 0]
    text_loss = functional.cross_entropy(text.transpose(1, 2), targets[:, 0], reduction="none")
    words = (targets[:, 0] != PAD).float()

    speaks = (batch["active"] | torch.roll(batch["active"], 1, 1)).bool()
    draw = torch.rand(2, rows, frames, device=codes.device)
    chosen = ((speaks & (draw[0] < spoken_share)) | (draw[1] < SILENT_SHARE)).reshape(-1)
    state = hidden.reshape(rows * frames, -1)[chosen]
    expected = targets[:, : 1 + CODEBOOKS].transpose(1, 2).reshape(-1, 1 + CODEBOOKS)[chosen]
    depth_inputs = [
        model.depformer_in[level](state)
        + (
            model.depformer_text_emb(expected[:, 0])
            if level == 0
            else model.depformer_emb[level - 1](expected[:, level])
        )
        for level in range(CODEBOOKS)
    ]
    depth = model.depformer(torch.stack(depth_inputs, 1))
    audio = torch.stack(
        [
            model.linears[level](model.depformer_norms[level](depth[:, level]))
            for level in range(CODEBOOKS)
        ],
        1,
    )
    known = expected[:, 1:] < model.card
    code_loss = functional.cross_entropy(
        audio.flatten(0, 1).float(),
        expected[:, 1:].clamp(max=model.card - 1).reshape(-1),
        reduction="none",
    ).reshape(known.shape)
    kinds = heads.kind(hidden)
    transcript = heads.transcript(hidden).float()
    transcript_loss = functional.cross_entropy(
        transcript.transpose(1, 2), batch["transcript"], reduction="none"
    )
    heard = (batch["transcript"] > PAD).float()
    phones = heads.phones(hidden).float().reshape(rows, frames * STEPS, PHONES)
    said = functional.pad(batch["phones"], (PHONES_LATE * STEPS, 0), value=UNKNOWN)[:, : frames * STEPS]
    found = {
        "text": 4 * text_loss.mean() + (text_loss * words).sum() / words.sum(),
        "codes": (code_loss * known).sum() / known.sum().clamp(min=1),
        "kind": functional.cross_entropy(
            kinds.transpose(1, 2), batch["kinds"], ignore_index=NO_KIND
        ),
        "speech": 0.5
        * functional.binary_cross_entropy_with_logits(
            heads.speech(hidden)[..., 0], batch["speech"].float()
        ),
        "transcript": transcript_loss.mean() + (transcript_loss * heard).sum() / heard.sum(),
        "phones": functional.cross_entropy(phones.transpose(1, 2), said, ignore_index=UNKNOWN),
    }
    with torch.no_grad():
        asked = batch["kinds"] != NO_KIND
        right = {
            "word": ((text.argmax(-1) == targets[:, 0]) * words).sum() / words.sum(),
            "code": ((audio.argmax(-1) == expected[:, 1:]) & known).sum() / known.sum(),
            "heard": ((transcript.argmax(-1) == batch["transcript"]) * heard).sum() / heard.sum(),
            "kind": (kinds.argmax(-1) == batch["kinds"])[asked].float().mean(),
            "phone": (phones.argmax(-1) == said)[said > SILENCE].float().mean(),
        }
    return found, right


def validate(model, heads, store, device):
    model.eval()
    with torch.no_grad():
        rows = torch.arange(min(VALIDATED, store.size))
        _, right = losses(model, heads, store.take(rows, device), False, EARLY_SHARE)
    model.train()
    return " ".join(f"{name} {float(share):.3f}" for name, share in right.items())


def transcript_head_path(path):
    return path.with_name(f"{path.stem}-transcript-head.safetensors")


def train_language_model(path, codec_path, batches, validation, steps, device, team=Team()):
    """@param batches TrainingBatches; @param validation {name: DialogueStore}."""
    torch.manual_seed(0)
    model = build_language_model()
    initialise(model, codec_path)
    model.to(device).train()
    heads = Heads().to(device)
    inner, others = inner_matrices(model)
    tables = [parameter for name, parameter in others.items() if is_user_embedding(name)]
    rest = [parameter for name, parameter in others.items() if not is_user_embedding(name)]
    rest += heads.parameters()
    optimizer = MuonAndAdamW(
        inner,
        [
            {"params": rest, "share": 1.0},
            {"params": tables, "share": TABLES_SHARE, "weight_decay": 0.0},
        ],
    )
    state = TrainingState(path.with_suffix(".state"), [model, heads], optimizer, batches.rng)
    team.draw_apart(state)
    parameters = [*model.parameters(), *heads.parameters()]
    averages = Averages()
    while state.step < steps:
        share = EARLY_SHARE if state.step < EARLY_STEPS else LATER_SHARE
        optimizer.set_rate(cosine_rate(state.step, steps, PEAK_RATE, warm_up=60, lowest=0.02))
        with rounded_products(device):
            found, right = losses(model, heads, batches.take(BATCH, device), True, share)
        optimizer.zero_grad()
        sum(found.values()).backward()
        team.average_gradients(parameters)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        averages.add(**found, **{f"{name}-right": value for name, value in right.items()})
        state.advance()
        if state.step % 25 == 0 and team.leads:
            print(f"language model {state.step}/{steps} {averages.take()}", flush=True)
        if team.leads and (state.step % VALIDATE_EVERY == 0 or state.step == steps):
            for name, store in validation.items():
                print(f"  {name}: {validate(model, heads, store, device)}", flush=True)
    if not team.leads:
        return
    save_file({n: v.detach().cpu().contiguous() for n, v in model.state_dict().items()}, path)
    # A speech-to-text model begins from here.
    save_file({"weight": heads.transcript.weight.detach().cpu()}, transcript_head_path(path))
    state.finish()

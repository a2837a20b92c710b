"""Trains a tiny speech-to-text model of the same domain, in the layout of kyutai/stt-1b-en_fr.

It hears the same codec and writes what users say, two seconds late; it begins as the part of the language
model that listens, which has learnt to do the same sooner. Four more heads tell whether the
user will be silent for the next 0.5, 1, 2 and 3 seconds: class 0 yes, class 1 no, the others never.
"""

import torch
import torch.nn.functional as functional
from moshi.models import loaders
from moshi.models.lm_utils import _delay_sequence
from safetensors.torch import load_file, save_file

from agent_streams import PAD
from codec import CODEBOOKS
from language_model import CONFIG as MOSHI_CONFIG
from language_model import inner_matrices
from muon import MuonAndAdamW
from products import rounded_products
from team import Team
from train_language_model import transcript_head_path
from training_state import Averages, TrainingState, cosine_rate
from transcript import delay_frames
from word_errors import edit_distance, words_of

# Kyutai's are half a second late, or 2.5: these few codes tell more of a question than of each of its words.
AUDIO_DELAY_SECONDS = 2.0
DELAY = delay_frames(AUDIO_DELAY_SECONDS)
PAUSE_HEADS, PAUSE_CLASSES = 4, 6
SHARED = (
    "dim num_layers num_heads hidden_scale context causal layer_scale max_period gating norm "
    "positional_embedding text_card existing_text_padding_id card depformer_multi_linear"
).split()
CONFIG = {name: MOSHI_CONFIG[name] for name in SHARED} | dict(
    n_q=CODEBOOKS,
    dep_q=0,
    delays=[0] * (1 + CODEBOOKS),
    extra_heads_num_heads=PAUSE_HEADS,
    extra_heads_dim=PAUSE_CLASSES,
)
# Stretches of talk of a step, of each process.
BATCH, PEAK_RATE = 16, 2.5e-3
# Shares of the codes that are replaced by others, of frames that are not heard, of levels that a whole stretch
# lacks; of its own pieces, those that are others than it should have written, and of its pauses: it will read
# its own mistakes.
CORRUPTED, MISSED, LEVEL_DROPPED = 0.08, 0.08, 0.15
MISTAKEN, INVENTED = 0.2, 0.015
VALIDATE_EVERY = 500
# Frames after a turn in which its last words come.
TAIL = DELAY + 8


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


def corrupt(tokens, model):
    """[B, 1 + codebooks, T] with some tokens replaced, and some frames that are not heard."""
    device, written, heard = tokens.device, tokens[:, 0], tokens[:, 1:]
    chosen = torch.rand(written.shape, device=device) < torch.where(
        written == PAD, INVENTED, MISTAKEN
    )
    others = torch.randint(0, model.text_card, written.shape, device=device)
    # Pieces are as often left out as taken for others.
    others[torch.rand(written.shape, device=device) < 0.5] = PAD
    # The first is no piece: it tells that nothing was written before.
    chosen[:, 0] = False
    written = torch.where(chosen, others, written)
    chosen = torch.rand(heard.shape, device=device) < CORRUPTED
    chosen[:, :, 0] = False
    heard = torch.where(chosen, torch.randint(0, model.card, heard.shape, device=device), heard)
    missed = torch.rand(len(heard), 1, heard.shape[2], device=device) < MISSED
    dropped = torch.rand(*heard.shape[:2], 1, device=device) < LEVEL_DROPPED
    dropped[:, 0] = False
    heard = torch.where(missed | dropped, torch.full_like(heard, -1), heard)
    return torch.cat([written[:, None], heard], 1)


def losses(model, batch):
    """{name: loss}, {name: share that is right}."""
    codes = torch.cat([batch["text"][:, None], batch["codes"]], 1)
    initial = model._get_initial_token().expand(len(codes), -1, -1)
    sequence = torch.cat([initial, _delay_sequence(model.delays, codes, initial)], 2)
    inputs, targets = corrupt(sequence[:, :, :-1], model), sequence[:, 0, 1:]
    hidden, text = model.forward_text(inputs)
    text = text[:, 0]
    text_loss = functional.cross_entropy(text.transpose(1, 2), targets, reduction="none")
    words = targets != PAD
    expected = batch["speaks"][:, None].expand(-1, PAUSE_HEADS, -1)
    pauses = torch.stack([head(hidden) for head in model.extra_heads], 1)
    pause_loss = functional.cross_entropy(pauses.permute(0, 3, 1, 2), expected)
    found = {
        # Words and pauses weigh the same: a model that is pressed to write writes what nobody said.
        "text": text_loss.sum() / words.sum(),
        "pause": pause_loss,
    }
    with torch.no_grad():
        right = {
            "word": ((text.argmax(-1) == targets) * words).sum() / words.sum(),
            "pause": (pauses.argmax(-1) == expected).float().mean(),
        }
    return found, right


def transcribe(model, codes):
    """What it writes, greedily and frame by frame. [B, codebooks, T] to tokens [B, T]"""
    token = torch.full_like(codes[:, :1, :1], model.text_initial_token_id)
    heard = torch.full_like(codes[:, :, :1], model.initial_token_id)
    written = []
    with torch.no_grad(), model.streaming(len(codes)):
        for frame in range(codes.shape[2]):
            _, text = model.forward_text(torch.cat([token, heard], 1))
            token = text[:, 0].argmax(-1)[:, None]
            heard = codes[:, :, frame : frame + 1]
            written.append(token[:, 0])
    return torch.cat(written, 1)


def count_word_errors(model, tokenizer, whole_turns, silence):
    """Share of words to insert, delete or replace, and of turns that need none of that."""
    texts, codes = whole_turns.batch(silence, TAIL)
    tokens = transcribe(model, codes).tolist()
    errors, words, right = 0, 0, 0
    for text, row in zip(texts, tokens):
        written = tokenizer.decode([token for token in row if token > PAD])
        expected = words_of(text)
        mistakes = edit_distance(expected, words_of(written))
        errors, words, right = errors + mistakes, words + len(expected), right + (mistakes == 0)
    return f"word errors {errors / words:.3f}, right {right / len(texts):.3f} of {len(texts)} turns"


def train_transcriber(
    path, language_model_path, batches, silence, validation, steps, device, team=Team()
):
    """@param batches ListeningBatches; @param silence [codebooks] The codec's; @param validation {name: WholeTurns}."""
    torch.manual_seed(2)
    model = build_transcriber()
    begin_as_listener(model, language_model_path, silence)
    model.to(device).train()
    parameters = list(model.parameters())
    inner, others = inner_matrices(model)
    optimizer = MuonAndAdamW(inner, [{"params": list(others.values()), "share": 1.0}])
    state = TrainingState(path.with_suffix(".state"), [model], optimizer, batches.rng)
    team.draw_apart(state)
    averages = Averages()
    while state.step < steps:
        optimizer.set_rate(cosine_rate(state.step, steps, PEAK_RATE, warm_up=60, lowest=0.02))
        with rounded_products(device):
            found, right = losses(model, batches.take(BATCH, device))
        optimizer.zero_grad()
        sum(found.values()).backward()
        team.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        averages.add(**found, **{f"{name}-right": value for name, value in right.items()})
        state.advance()
        if state.step % 25 == 0 and team.leads:
            print(f"transcriber {state.step}/{steps} {averages.take()}", flush=True)
        if team.leads and (state.step % VALIDATE_EVERY == 0 or state.step == steps):
            model.cpu().eval()
            for name, turns in validation.items():
                found = count_word_errors(model, batches.tokenizer, turns, silence)
                print(f"  {name}: {found}", flush=True)
            model.to(device).train()
    if team.leads:
        save_file({n: v.detach().cpu().contiguous() for n, v in model.state_dict().items()}, path)
        state.finish()

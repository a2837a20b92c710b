"""Codec, language model and tokenizer in one folder, as Kyutai publishes them; and what PyTorch computes."""

import json
import shutil

import torch
from moshi.models import lm as moshi_lm
from safetensors.torch import load_file, save_file

import repertoire
from codec import FRAME, SAMPLE_RATE, codec_config, load_codec
from heard_turns import SHORTEST_LEAD
from language_model import CONFIG, build_language_model, published_names
from tokenizer import load_tokenizer
from train_transcriber import AUDIO_DELAY_SECONDS
from train_transcriber import CONFIG as TRANSCRIBER_CONFIG

# The text decides which line is said: nearly always the likeliest.
SAMPLING = dict(temp=0.5, temp_text=0.1, top_k=20, top_k_text=10)
# Logits of the codes are recorded from this call on, for size.
AUDIO_LOGITS_FROM = 70
MOST_BYTES = 15_000_000


def export(folder, codec_path, model_path, tokenizer_path, question):
    """@param question [samples] at 24 kHz, what expected.safetensors hears."""
    config = dict(CONFIG, model_type="moshi", lm_gen_config=SAMPLING)
    state = write_checkpoint(folder, codec_path, model_path, tokenizer_path, config)
    repertoire.write_json(folder / "repertoire.json")
    expected = record(codec_path, state, question)
    save_file(expected, folder / "expected.safetensors")
    spoken = [int(token) for token in expected["tokens"][0] if int(token) > 3]
    print("says:", load_tokenizer(tokenizer_path).decode(spoken))
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{size / 1e6:.1f} MB in {folder}")
    assert size < MOST_BYTES, "the checkpoint is larger than it may be"


def export_transcriber(folder, model_path):
    """The speech-to-text model, in the layout of kyutai/stt-1b-en_fr; its codec and tokenizer are those of the
    checkpoint whose folder it lies in."""
    config = dict(
        TRANSCRIBER_CONFIG,
        model_type="stt",
        stt_config=dict(
            audio_delay_seconds=AUDIO_DELAY_SECONDS,
            # It has heard no turn without some of the room before it.
            audio_silence_prefix_seconds=SHORTEST_LEAD * FRAME / SAMPLE_RATE,
        ),
        lm_gen_config=dict(temp=0, temp_text=0, top_k=50, top_k_text=50),
    )
    write_model(folder, model_path, config, files_in="../")


def write_checkpoint(folder, codec_path, model_path, tokenizer_path, config):
    """The files of Kyutai's layout. Returns the model's weights, rounded as they are stored."""
    state = write_model(folder, model_path, config)
    shutil.copy(codec_path, folder / "mimi.safetensors")
    shutil.copy(tokenizer_path, folder / "tokenizer.model")
    write_json(folder / "mimi_config.json", codec_config())
    return state


def write_model(folder, model_path, config, files_in=""):
    """model.safetensors and config.json. @param files_in Folder of codec and tokenizer, from `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.to(torch.bfloat16) for name, value in load_file(model_path).items()}
    published = published_names(state)
    save_file({n: v.contiguous().clone() for n, v in published.items()}, folder / "model.safetensors")
    file_names = dict(
        moshi_name="model.safetensors",
        mimi_name=f"{files_in}mimi.safetensors",
        mimi_config_name=f"{files_in}mimi_config.json",
        tokenizer_name=f"{files_in}tokenizer.model",
    )
    write_json(folder / "config.json", dict(config, **file_names))
    return state


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def record(codec_path, state, question):
    """Greedy, in float32, of the rounded weights: inputs, codes, tokens, sound, logits, states."""
    model = build_language_model()
    model.load_state_dict({name: value.float() for name, value in state.items()})
    model.eval()
    codec = load_codec(codec_path)
    frames = len(question) // FRAME
    pcm = torch.from_numpy(question[: frames * FRAME]).view(frames, 1, 1, FRAME)
    hidden, text_logits, audio_logits = [], [], []
    forward_text, forward_depth = model.forward_text, model.forward_depformer

    def record_text(*arguments, **options):
        state_of_step, logits = forward_text(*arguments, **options)
        hidden.append(state_of_step[0, 0].clone())
        text_logits.append(logits[0, 0, 0].clone())
        return state_of_step, logits

    def record_depth(level, *arguments, **options):
        logits = forward_depth(level, *arguments, **options)
        if level == 0:
            audio_logits.append([])
        audio_logits[-1].append(logits[0, 0, 0].clone())
        return logits

    model.forward_text, model.forward_depformer = record_text, record_depth
    generator = moshi_lm.LMGen(model, use_sampling=False, check=True)
    tokens, sound, user = [], [], []
    with torch.no_grad():
        with codec.streaming(1):
            mimi_codes = torch.cat([codec.encode(frame) for frame in pcm], -1)[0]
        with generator.streaming(1), codec.streaming(1):
            for index, frame in enumerate(pcm):
                codes = codec.encode(frame)
                if index == 0:
                    codec.reset_streaming()
                user.append(codes[0, :, 0].clone())
                column = generator.step(codes)
                if column is not None:
                    tokens.append(column[0, :, 0].clone())
                    sound.append(codec.decode(column[:, 1:])[0, 0].clone())
    result = {
        "input_pcm": torch.from_numpy(question[: frames * FRAME])[None],
        "mimi_codes": mimi_codes,
        "user_codes": torch.stack(user, 1),
        "tokens": torch.stack(tokens, 1),
        "output_pcm": torch.cat(sound)[None],
        "text_logits": torch.stack(text_logits),
        "hidden": torch.stack(hidden),
        f"audio_logits_from_{AUDIO_LOGITS_FROM}": torch.stack(
            [torch.stack(step) for step in audio_logits[AUDIO_LOGITS_FROM:]]
        ),
    }
    best = result["text_logits"].topk(2, -1).values
    print(f"smallest margin of the text: {float((best[:, 0] - best[:, 1]).min()):.3f}")
    return {name: value.contiguous() for name, value in result.items()}

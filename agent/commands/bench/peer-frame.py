"""Times frames of Kyutai's own PyTorch code (PyPI `moshi`) on a checkpoint; `bench frame --peer` runs it.

    NO_TORCH_COMPILE=1 python peer-frame.py CHECKPOINT --threads 2 --frames 30 --dtype float32

Prints one JSON object: milliseconds of each frame and of its parts. The sequence of a frame is that of
kyutai-labs/moshi moshi/moshi/server.py (`handle_chat`); compilation is off because on a CPU it delays the
first frame by seconds and makes the others no faster.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from moshi.models import LMGen, loaders

FRAME = 1920
WARM_UP = 3


def open_models(folder, dtype):
    raw = json.loads((folder / "config.json").read_text())
    config = dict(raw)
    for key in ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name"):
        config.pop(key, None)
    options = {key: config.pop(key, {}) for key in ("lm_gen_config", "stt_config")}
    config.pop("model_id", None)
    info = loaders.CheckpointInfo(
        folder / raw["moshi_name"],
        folder / raw["mimi_name"],
        folder / raw["tokenizer_name"],
        model_type=config.pop("model_type"),
        lm_config=config,
        raw_config=raw,
        **options,
    )
    mimi_config = None
    if "mimi_config_name" in raw:
        mimi_config = json.loads((folder / raw["mimi_config_name"]).read_text())
    codebooks = max(config["dep_q"], config["n_q"] - config["dep_q"])
    mimi = loaders.get_mimi(folder / raw["mimi_name"], mimi_config, num_codebooks=codebooks)
    return mimi, info.get_moshi(dtype=dtype)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    mimi, model = open_models(arguments.checkpoint, getattr(torch, arguments.dtype))
    generator = LMGen(model)
    pcm = torch.sin(torch.arange(FRAME) / 7)[None, None] * 0.3
    times = []
    with torch.no_grad(), mimi.streaming(1), generator.streaming(1):
        for frame in range(WARM_UP + arguments.frames):
            start = time.perf_counter()
            codes = mimi.encode(pcm)
            encoded = time.perf_counter()
            tokens = generator.step(codes[:, : model.num_codebooks - model.dep_q - 1])
            stepped = time.perf_counter()
            if tokens is not None:
                mimi.decode(tokens[:, 1:].clamp(min=0))
            end = time.perf_counter()
            if frame >= WARM_UP:
                marks = {"encode": encoded - start, "model": stepped - encoded, "decode": end - stepped}
                times.append({"frame": end - start, **marks})
    names = ("frame", "encode", "model", "decode")
    print(json.dumps({name: [1000 * frame[name] for frame in times] for name in names}))


main()

"""From nothing to the demo model and its evaluation.

    python run.py --work DIR [--smoke] [--device cuda] [--until STAGE]

Stages follow one another; each leaves its result in DIR and is skipped when that is there, and the long
ones go on where they were ended. Seeds are fixed, and training is counted in steps, not in minutes.
`--smoke` goes through all of it with tiny budgets, to see that it works: the model babbles.
"""

import argparse
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]


@dataclass
class Budget:
    # Of training speech, 250 utterances each; of each kind of held-out speech.
    shards: int = 60
    utterances: int = 250
    held_shards: int = 2
    # Of the training's shards, those that the codec hears.
    taught_shards: int = 24
    codec_steps: int = 2_600
    codec_warm_steps: int = 400
    decoder_steps: int = 2_400
    # Of 256 dialogues of 20 s.
    dialogue_shards: int = 96
    dialogues: int = 256
    validation_dialogues: int = 64
    language_model_steps: int = 8_000
    transcriber_steps: int = 1_200
    clips: int = 48
    conversations: int = 48
    long_minutes: float = 30
    quiet_minutes: float = 10


SMOKE = Budget(
    shards=2,
    utterances=60,
    held_shards=1,
    taught_shards=1,
    codec_steps=60,
    codec_warm_steps=42,
    decoder_steps=5,
    dialogue_shards=1,
    dialogues=32,
    validation_dialogues=16,
    language_model_steps=20,
    transcriber_steps=5,
    clips=2,
    conversations=2,
    long_minutes=0.2,
    quiet_minutes=1,
)


class Pipeline:
    """The stages, in order; each a method that names what it leaves."""

    STAGES = (
        "lines",
        "users",
        "teacher",
        "tokenizer",
        "codec",
        "dialogues",
        "language_model",
        "decoder",
        "checkpoint",
        "evaluation",
        "transcriber",
    )

    def __init__(self, work, budget, device, threads):
        import torch

        torch.set_num_threads(threads)
        self.work, self.budget, self.device, self.threads = work, budget, device, threads
        self.speech = work / "speech"
        self.codec = work / "codec.safetensors"
        self.clear_codec = work / "codec-clear.safetensors"
        self.tokenizer = work / "tokenizer.model"
        self.language_model = work / "language-model.safetensors"
        self.checkpoint_folder = work / "checkpoint"

    def run(self, until):
        for stage in self.STAGES:
            print(f"— {stage}", flush=True)
            begin = time.monotonic()
            getattr(self, f"make_{stage}")()
            print(f"  {time.monotonic() - begin:.0f} s", flush=True)
            if stage == until:
                break

    def make_lines(self):
        from agent_speech import speak_lines

        if not (self.speech / "lines.json").exists():
            speak_lines(self.speech)

    def make_users(self):
        from recorded_speech import write_recorded
        from user_speech import speak_users

        budget = self.budget
        speak_users(
            self.speech,
            budget.shards,
            utterances=budget.utterances,
            held_shards=budget.held_shards,
        )
        write_recorded(self.speech)

    def make_teacher(self):
        from teacher import write_features

        if not (self.work / "features.json").exists():
            sounds, _ = self._lines()
            write_features(self.work, self._taught_users(), sounds, self.threads)

    def make_tokenizer(self):
        from tokenizer import train_tokenizer

        if not self.tokenizer.exists():
            train_tokenizer(self.tokenizer)

    def make_codec(self):
        from teacher import read_features
        from train_codec import train_codec

        from tokenizer import load_tokenizer

        if not self.codec.exists():
            sounds, _ = self._lines()
            features, places = read_features(self.work)
            budget = self.budget
            train_codec(
                self.codec,
                self._taught_users(),
                sounds,
                features,
                places,
                load_tokenizer(self.tokenizer),
                budget.codec_steps,
                budget.codec_warm_steps,
                self.device,
            )

    def make_dialogues(self):
        budget = self.budget
        for kind in ("voice", "text"):
            self.make_shards(kind, [0], budget.validation_dialogues)
        # A shard depends on its number alone, so that processes may share them out.
        processes = self.threads if self.device == "cpu" else 1
        parts = [range(n, budget.dialogue_shards, processes) for n in range(processes)]
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            begun = [pool.submit(make_training_shards, self, part) for part in parts]
            for one in begun:
                one.result()

    def make_shards(self, kind, numbers, size):
        from codec import load_codec
        from make_dialogues import make_dialogues

        make_dialogues(
            self.work / "dialogues",
            kind,
            numbers,
            self._agent(),
            self._users(kind),
            load_codec(self.codec).to(self.device),
            size=size,
            device=self.device,
        )

    def make_language_model(self):
        if self.language_model.exists():
            return
        self.language_model.with_suffix(".team").unlink(missing_ok=True)
        size = self.threads if self.device == "cpu" else 1
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=train_beside, args=(self, rank, size), daemon=True)
            for rank in range(1, size)
        ]
        for other in others:
            other.start()
        train_beside(self, 0, size)
        for other in others:
            other.join()

    def train_language_model(self, team):
        from make_dialogues import DialogueStore
        from train_language_model import train_language_model

        folder = self.work / "dialogues"
        train_language_model(
            self.language_model,
            self.codec,
            DialogueStore(folder, "train"),
            {kind: DialogueStore(folder, kind) for kind in ("voice", "text")},
            self.budget.language_model_steps,
            self.device,
            team,
        )

    def make_decoder(self):
        from train_decoder import train_decoder

        if not self.clear_codec.exists():
            steps = self.budget.decoder_steps
            train_decoder(self.codec, self.clear_codec, self._agent(), steps, self.device)

    def make_checkpoint(self):
        from export import export
        from sound_files import read_pcm16

        if not (self.checkpoint_folder / "expected.safetensors").exists():
            # "What is your name", after the greeting.
            question, _ = read_pcm16(HERE.parent / "samples" / "question.wav")
            export(
                self.checkpoint_folder,
                self.clear_codec,
                self.language_model,
                self.tokenizer,
                question,
            )

    def make_evaluation(self):
        audio, budget = self.work / "evaluation", self.budget
        if not (audio / "index.json").exists():
            repertoire = str(self.checkpoint_folder / "repertoire.json")
            arguments = ["--repertoire", repertoire, "--out", str(audio)]
            script = str(HERE / "evaluation_audio.py")
            clips = ["--clips", str(budget.clips)]
            subprocess.run([sys.executable, script, *arguments, *clips], check=True)
        report = self.work / "evaluation.json"
        if not report.exists():
            command = ["node", "agent/start.mjs", "agent/cli.ts", "bench", "demo", "--json"]
            options = {
                "--model": self.checkpoint_folder,
                "--audio": audio,
                "--conversations": budget.conversations,
                "--minutes": budget.long_minutes,
                "--quiet-minutes": budget.quiet_minutes,
                "--whisper": sys.executable,
            }
            pairs = [str(part) for pair in options.items() for part in pair]
            found = subprocess.run(
                [*command, *pairs], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
            )
            report.write_text(found.stdout)
        print(report.read_text())

    def make_transcriber(self):
        from export import export_transcriber
        from make_dialogues import DialogueStore
        from train_transcriber import train_transcriber

        path = self.work / "transcriber.safetensors"
        if not path.exists():
            folder = self.work / "dialogues"
            train_transcriber(
                path,
                self.language_model,
                DialogueStore(folder, "train"),
                {kind: DialogueStore(folder, kind) for kind in ("voice", "text")},
                self.budget.transcriber_steps,
                self.device,
            )
        folder = self.work / "transcriber"
        export_transcriber(folder, self.codec, path, self.tokenizer)

    def _lines(self):
        from agent_speech import read_lines

        return read_lines(self.speech)

    def _users(self, kind):
        from user_speech import Users

        return Users(self.speech, kind)

    def _taught_users(self):
        from user_speech import Users

        return Users(self.speech, "train", self.budget.taught_shards)

    def _agent(self):
        from agent_streams import AgentStreams
        from codec import load_codec
        from tokenizer import load_tokenizer

        return AgentStreams(load_codec(self.codec), load_tokenizer(self.tokenizer), *self._lines())


def train_beside(pipeline, rank, size):
    """The language model's training, in one of `size` processes."""
    import torch
    from team import Team

    if size > 1:
        torch.set_num_threads(1)
    pipeline.train_language_model(Team(rank, size))


def make_training_shards(pipeline, numbers):
    """In a process of its own, on one thread."""
    import torch

    torch.set_num_threads(1)
    pipeline.make_shards("train", numbers, pipeline.budget.dialogues)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder of all results")
    parser.add_argument("--smoke", action="store_true", help="tiny budgets, a few minutes")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--until", choices=Pipeline.STAGES, help="the last stage to run")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    budget = SMOKE if arguments.smoke else Budget()
    Pipeline(work, budget, arguments.device, arguments.threads).run(arguments.until)


if __name__ == "__main__":
    main()

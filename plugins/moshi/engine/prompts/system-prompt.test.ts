import { describe, expect, test } from 'vitest';

import {
  recordedVoiceFrames,
  systemPrompt,
  voiceFrames,
  wrapPrompt,
  type PromptModel,
} from './system-prompt.ts';

/** Two codebooks a voice; the second is late by `delay`. */
function model(delay: number): PromptModel {
  return {
    paddingToken: 3,
    maxDelay: delay,
    textCard: 600,
    audioCard: 100,
    prompt: {
      silenceCodes: [70, 71],
      toneCodes: [80, 81],
      gapFrames: 1,
      delays: [0, 0, delay, 0, delay],
    },
  };
}
const voice = [
  [10, 11],
  [20, 21],
];

test('is voice, gap, text and gap, each stream in the step that writes it', () => {
  const prompt = systemPrompt(model(1), voiceFrames(model(1), voice), [500, 501]);
  expect(prompt.promptSteps).toBe(6);
  expect(prompt.steps.map(({ text, codes }) => [text, ...codes])).toEqual([
    // What step n writes is read at position n + 1: text and first code of frame n + 1, second of n.
    [3, 20, 11, 80, 81],
    [3, 70, 21, 80, 81],
    [500, 70, 71, 80, 81],
    [501, 70, 71, 80, 81],
    [3, 70, 71, 80, 81],
    // Text and first code are the model's own from here on.
    [-1, -1, 71, 80, 81],
  ]);
});

test('goes on into the conversation where streams are later than one step', () => {
  const prompt = systemPrompt(model(3), [], []);
  expect(prompt.promptSteps).toBe(2);
  expect(prompt.steps.map(({ text, codes }) => [text, ...codes])).toEqual([
    [3, 70, -1, 80, 81],
    [-1, -1, -1, 80, 81],
    // The caller is heard; the late code of the last gap frames is still due.
    [-1, -1, 71, -1, -1],
    [-1, -1, 71, -1, -1],
  ]);
});

test('without text has both gaps and nothing between', () => {
  expect(systemPrompt(model(1), voiceFrames(model(1), voice), []).promptSteps).toBe(4);
  expect(systemPrompt(model(1), [], []).promptSteps).toBe(2);
});

test('gives equal prompts equal keys and others other keys', () => {
  const keys = [
    systemPrompt(model(1), voiceFrames(model(1), voice), [5]),
    systemPrompt(model(1), voiceFrames(model(1), voice), [5]),
    systemPrompt(model(1), voiceFrames(model(1), voice), [6]),
    systemPrompt(model(1), voiceFrames(model(1), [[10, 12]]), [5]),
  ].map(({ key }) => key);
  expect(keys[0]).toBe(keys[1]);
  expect(new Set(keys).size).toBe(3);
});

test('takes from a recorded voice the embeddings, and from its ring what they leave open', () => {
  // Frames 0 to 2 of a voice: positions 0 and 1 are embeddings, the ring holds positions 2 and 3.
  const rows = [new Float32Array([1, 2]), new Float32Array([3, 4])];
  const ring = [
    [9, 9, 3, 99],
    [9, 9, 30, 99],
    [9, 9, 21, 31],
    [9, 9, 80, 99],
    [9, 9, 81, 82],
  ];
  const recorded = recordedVoiceFrames(model(1), rows, ring);
  const prompt = systemPrompt(model(1), recorded, []);
  const played = systemPrompt(model(1), voiceFrames(model(1), [...voice, [30, 31]]), []);
  expect(prompt.promptSteps).toBe(played.promptSteps);
  expect(prompt.steps.map(({ embedding }) => embedding)).toEqual([...rows, ...[null, null, null]]);
  // Step 1 writes position 2, which is the first that is read as tokens.
  expect(prompt.steps[1]).toMatchObject({ text: 3, codes: [30, 21, 80, 81] });
  expect(prompt.steps[2]).toMatchObject({ text: 3, codes: [70, 31, 80, 82] });
  expect(prompt.steps.slice(3)).toEqual(played.steps.slice(3));
});

test('refuses tokens that the model does not have, and a ring that is too short', () => {
  expect(() => systemPrompt(model(1), [], [601])).toThrow(
    'The prompt has the text token 601, the model has 0 to 600.',
  );
  expect(() => systemPrompt(model(1), voiceFrames(model(1), [[101, 0]]), [])).toThrow('code 101');
  expect(() => recordedVoiceFrames(model(3), [], [[1, 2, 3, 4]])).toThrow('needs 5 or more');
});

describe('the text', () => {
  test.each([
    ['Be kind.', '<system> Be kind. <system>'],
    ['  Be kind.\n', '<system> Be kind. <system>'],
    ['<system> Be kind. <system>', '<system> Be kind. <system>'],
    ['<system>', '<system> <system> <system>'],
    ['', ''],
    [' \n ', ''],
  ])('%j is wrapped as %j', (text, wrapped) => {
    expect(wrapPrompt(text)).toBe(wrapped);
  });
});

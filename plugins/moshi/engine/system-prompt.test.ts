import { describe, expect, test } from 'vitest';

import { systemPrompt, voiceFrames, wrapPrompt, type PromptModel } from './system-prompt.ts';

/** Two codebooks a voice; the second is late by `delay`. */
function model(delay: number): PromptModel {
  return {
    paddingToken: 3,
    maxDelay: delay,
    prompt: { silenceCodes: [70, 71], toneCodes: [80, 81], gapFrames: 1, delays: [0, 0, delay] },
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

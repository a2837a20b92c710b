import { expect, test } from 'vitest';

import { EndOfTurn } from './end-of-turn.ts';

/** Steps whose pushes end a turn. `words` are the steps that complete a word. */
function endings(pauses: readonly number[], words: readonly number[], delayFrames = 6): number[] {
  const turn = new EndOfTurn(delayFrames);
  return pauses.flatMap((pause, step) =>
    turn.push(pause, words.includes(step)) === null ? [] : [step],
  );
}

/** `count` probabilities, 0.1 but where `pauses` says otherwise. */
function talk(count: number, pauses: Readonly<Record<number, number>>): number[] {
  return Array.from({ length: count }, (_, step) => pauses[step] ?? 0.1);
}

test('a turn ends once, when the pause is likelier than not by a margin', () => {
  expect(endings(talk(40, { 25: 0.55, 30: 0.7, 31: 0.9, 32: 0.9 }), [20])).toEqual([30]);
});

test('without a word there is no turn that could end', () => {
  expect(endings(talk(40, { 20: 0.9, 21: 0.9 }), [])).toEqual([]);
});

test('the word that begins a turn does not end it', () => {
  expect(endings(talk(40, { 20: 0.9, 21: 0.2, 30: 0.9 }), [20])).toEqual([30]);
});

test('the first twelve steps end nothing', () => {
  expect(endings(talk(20, { 4: 0.9, 11: 0.9 }), [2])).toEqual([]);
  expect(endings(talk(20, { 11: 0.9, 12: 0.9 }), [2])).toEqual([12]);
});

test('words that were said before the pause begin no turn, later ones do', () => {
  const pauses = talk(60, { 30: 0.9, 40: 0.9, 50: 0.9 });
  expect(endings(pauses, [20, 36])).toEqual([30]);
  expect(endings(pauses, [20, 37])).toEqual([30, 40]);
  expect(endings(pauses, [20, 31, 45])).toEqual([30, 50]);
});

test('a turn that is shorter than the delay of its words ended when its pause began', () => {
  const turn = new EndOfTurn(6);
  const pauses = [...talk(20, {}), ...Array.from({ length: 20 }, () => 0.9)];
  const found = pauses.map((pause, step) => turn.push(pause, step === 24));
  expect(found.flatMap((agoSteps, step) => (agoSteps === null ? [] : [[step, agoSteps]]))).toEqual([
    [25, 5],
  ]);
});

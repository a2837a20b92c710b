import { expect, test } from 'vitest';
import { UserTurns } from './user-turns.ts';

function createTurns(): UserTurns {
  let next = 0;
  return new UserTurns(() => `turn-${(next += 1)}`);
}

test('words of one turn share an id, and the pause after the last one ends it', () => {
  const turns = createTurns();
  expect(turns.push('How', 80, 800)).toEqual({
    word: { turnId: 'turn-1', text: ' How', startMs: 80 },
    turn: { turnId: 'turn-1', text: ' How', startMs: 80, endMs: 800 },
  });
  expect(turns.push('are', 240, 960).turn).toMatchObject({ text: ' How are', endMs: 960 });
  expect(turns.end(900)).toEqual({ turnId: 'turn-1', text: ' How are', startMs: 80, endMs: 900 });
  expect(turns.push('Well', 2_000, 2_500).turn).toMatchObject({ turnId: 'turn-2', startMs: 2_000 });
});

test('without a pause a turn ends where its last word had been heard', () => {
  const turns = createTurns();
  turns.push('How', 80, 800);
  expect(turns.end()).toMatchObject({ endMs: 800 });
});

test('no turn ends before it begins, whatever the times are', () => {
  const turns = createTurns();
  expect(turns.push('How', 80, 0).turn).toMatchObject({ startMs: 80, endMs: 80 });
  expect(turns.end(20)).toMatchObject({ startMs: 80, endMs: 80 });
});

test('without words there is nothing to end', () => {
  expect(createTurns().end(900)).toBeNull();
});

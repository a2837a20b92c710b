import type { Levels } from './voices.tsx';

/** How long the imagined conversation is before it begins again, seconds. */
const PERIOD_SECONDS = 14;

/** Who talks when, seconds from the start: they overlap, as people do. */
const AGENT_TURNS = [
  [0.4, 3.1],
  [6.2, 6.7],
  [8.3, 12.2],
] as const;
const USER_TURNS = [
  [2.5, 7.9],
  [10.7, 11.3],
  [12.6, 13.7],
] as const;

/** The start screen's picture: two voices that talk at once now and then. Pure. */
export function imaginedLevels(timeMs: number): Levels {
  const passed = (timeMs / 1000) % PERIOD_SECONDS;
  const seconds = passed < 0 ? passed + PERIOD_SECONDS : passed;
  return {
    agent: speech(seconds, AGENT_TURNS, 0),
    user: speech(seconds, USER_TURNS, 1.7),
  };
}

/** Syllables four times a second under a phrase that swells and fades. */
function speech(
  seconds: number,
  turns: readonly (readonly [number, number])[],
  phase: number,
): number {
  for (const [from, to] of turns) {
    if (seconds >= from && seconds <= to) {
      const edge = Math.min(1, (seconds - from) / 0.12, (to - seconds) / 0.3);
      const syllables =
        0.5 + 0.32 * Math.sin(seconds * 25 + phase) + 0.18 * Math.sin(seconds * 11 + phase * 2);
      const phrase = 0.6 + 0.4 * Math.sin(seconds * 2.3 + phase);
      return Math.max(0, edge) * Math.max(0.06, syllables * phrase);
    }
  }
  return 0;
}

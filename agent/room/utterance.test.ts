import { expect, test } from 'vitest';
import { UtteranceTracker } from './utterance.ts';

function createTracker(): UtteranceTracker {
  let next = 0;
  return new UtteranceTracker(() => `segment-${(next += 1)}`);
}

test('words of one utterance share a segment, and silence after the last one ends it', () => {
  const tracker = createTracker();
  expect(tracker.pushWord({ text: ' My', startMs: 160, endMs: 240 })).toEqual({
    type: 'agent_transcript_delta',
    segmentId: 'segment-1',
    text: ' My',
    startMs: 160,
    endMs: 240,
  });
  tracker.pushWord({ text: ' name', startMs: 240, endMs: 400 });
  expect(tracker.pushFrame({ startMs: 400, isSpeech: true })).toBeNull();
  expect(tracker.pushFrame({ startMs: 480, isSpeech: false })).toEqual({
    type: 'agent_transcript_final',
    segmentId: 'segment-1',
    text: ' My name',
    startMs: 160,
    endMs: 400,
  });
  expect(tracker.pushWord({ text: ' Bye', startMs: 900, endMs: 980 }).segmentId).toBe('segment-2');
});

test('silence before a word has sounded does not end it: text runs ahead of audio', () => {
  const tracker = createTracker();
  tracker.pushWord({ text: ' Hello', startMs: 320, endMs: 400 });
  expect(tracker.pushFrame({ startMs: 160, isSpeech: false })).toBeNull();
});

test('without words there is nothing to end', () => {
  const tracker = createTracker();
  expect(tracker.pushFrame({ startMs: 0, isSpeech: false })).toBeNull();
  expect(tracker.finish()).toBeNull();
});

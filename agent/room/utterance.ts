import type { MoshiFrame, TimedWord } from '../../plugins/moshi/index.ts';
import type { RoomEvent } from '../events/room-events.ts';

type TranscriptEvent =
  | Omit<Extract<RoomEvent, { type: 'agent_transcript_delta' }>, 'v'>
  | Omit<Extract<RoomEvent, { type: 'agent_transcript_final' }>, 'v'>;

type OpenUtterance = {
  segmentId: string;
  text: string;
  startMs: number;
  endMs: number;
};

/** Gathers words into utterances: one ends when its last word has sounded and silence follows. */
export class UtteranceTracker {
  readonly #createId: () => string;
  #open: OpenUtterance | null = null;

  constructor(createId: () => string) {
    this.#createId = createId;
  }

  /** @returns the event that tells of the word. */
  pushWord(word: TimedWord): TranscriptEvent {
    const startMs = word.startMs;
    const endMs = Math.max(word.endMs, startMs);
    this.#open ??= { segmentId: this.#createId(), text: '', startMs, endMs };
    this.#open.text += word.text;
    this.#open.endMs = endMs;
    const { segmentId } = this.#open;
    return { type: 'agent_transcript_delta', segmentId, text: word.text, startMs, endMs };
  }

  /** @returns the event that ends the utterance, when this frame shows that it is over. */
  pushFrame(frame: Pick<MoshiFrame, 'startMs' | 'isSpeech'>): TranscriptEvent | null {
    const isOver = this.#open !== null && !frame.isSpeech && frame.startMs >= this.#open.endMs;
    return isOver ? this.finish() : null;
  }

  /** Ends the utterance at once: nothing more of it will come. */
  finish(): TranscriptEvent | null {
    const utterance = this.#open;
    this.#open = null;
    return utterance && { type: 'agent_transcript_final', ...utterance };
  }
}

/** Turns transcription streams into what the page shows. Pure. */

/** `user` is who looks at this page, `guest` any other person. */
export type Speaker = 'agent' | 'user' | 'guest';

export interface CaptionStream {
  /** Segment id: several streams of one segment follow each other, the last one counts. */
  id: string;
  speaker: Speaker;
  text: string;
}

export interface Caption {
  id: string;
  speaker: Speaker;
  words: string[];
}

/** Captions that stay on the page; older ones have been read. */
const MAX_CAPTIONS = 40;

/** Keeps the order of first appearance and the latest text of each segment. */
export function mergeCaptions(streams: readonly CaptionStream[]): Caption[] {
  const bySegment = new Map<string, Caption>();
  for (const { id, speaker, text } of streams) {
    const words = text.split(/\s+/).filter((word) => word !== '');
    bySegment.set(`${speaker}:${id}`, { id, speaker, words });
  }
  return [...bySegment.values()].filter(({ words }) => words.length > 0).slice(-MAX_CAPTIONS);
}

/** Who a transcription is of; the server gives identities that begin like this to agents only. */
export function speakerOf(identity: string, localIdentity: string): Speaker {
  if (identity === localIdentity) {
    return 'user';
  }
  return identity.startsWith('agent') ? 'agent' : 'guest';
}

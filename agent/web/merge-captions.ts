/** Turns transcription streams into what the page shows. Pure. */
export interface CaptionStream {
  /** Segment id: several streams of one segment follow each other, the last one counts. */
  id: string;
  speaker: 'agent' | 'user';
  text: string;
}

export interface Caption {
  id: string;
  speaker: 'agent' | 'user';
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

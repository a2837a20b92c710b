/** What was said, as the page keeps it. Pure. */

/** `user` is who looks at this page, `guest` any other person. */
export type Speaker = 'agent' | 'user' | 'guest';

export interface Caption {
  /** One per segment of speech. */
  id: string;
  speaker: Speaker;
  words: string[];
}

/** Captions that stay on the page; older ones have been read. */
const MAX_CAPTIONS = 40;

/** Puts the latest words of a segment in the place of its earlier ones, or at the end. */
export function addCaption(known: readonly Caption[], caption: Caption): Caption[] {
  if (caption.words.length === 0) {
    return [...known];
  }
  const place = known.findIndex(({ id }) => id === caption.id);
  return place === -1 ? [...known, caption].slice(-MAX_CAPTIONS) : known.with(place, caption);
}

export function splitWords(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** Who a transcription is of; the server gives identities that begin like this to agents only. */
export function speakerOf(identity: string, localIdentity: string): Speaker {
  if (identity === localIdentity) {
    return 'user';
  }
  return identity.startsWith('agent') ? 'agent' : 'guest';
}

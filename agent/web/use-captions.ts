import { useEffect, useState } from 'react';
import { useRoomContext } from '@livekit/components-react';
import type { TextStreamReader } from 'livekit-client';
import { addCaption, speakerOf, splitWords, type Caption } from './captions-log.ts';

const TRANSCRIPTION_TOPIC = 'lk.transcription';

/**
 * What both sides say, word by word: one caption per segment, oldest first.
 *
 * The library's own hook lets a stream that breaks off, because somebody left in mid-sentence, end
 * as an unhandled error; here the caption just stays as it is.
 */
export function useCaptions(): Caption[] {
  const room = useRoomContext();
  const [captions, setCaptions] = useState<Caption[]>([]);

  useEffect(() => {
    const read = async (reader: TextStreamReader, identity: string): Promise<void> => {
      const { id, attributes } = reader.info;
      const segment = attributes?.['lk.segment_id'] ?? id;
      // Asked for here: before the room is connected nobody has an identity.
      const speaker = speakerOf(identity, room.localParticipant.identity);
      let text = '';
      for await (const chunk of reader) {
        text += chunk;
        const caption: Caption = { id: `${speaker}:${segment}`, speaker, words: splitWords(text) };
        setCaptions((known) => addCaption(known, caption));
      }
    };
    room.registerTextStreamHandler(TRANSCRIPTION_TOPIC, (reader, { identity }) => {
      read(reader, identity).catch(() => undefined);
    });
    return () => room.unregisterTextStreamHandler(TRANSCRIPTION_TOPIC);
  }, [room]);

  return captions;
}

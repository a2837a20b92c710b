import { useEffect, useRef } from 'react';
import type { Caption, Speaker } from './captions-log.ts';

interface CaptionsProps {
  captions: readonly Caption[];
  isAgentPresent: boolean;
}

/** Words of both sides as they arrive; the newest is the largest. */
export function Captions({ captions, isAgentPresent }: CaptionsProps) {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    end.current?.scrollIntoView({ block: 'end' });
  }, [captions]);

  return (
    <section className="captions" aria-label="Captions">
      <div className="captions-scroll" role="log" aria-live="polite" tabIndex={0}>
        {captions.length === 0 && (
          <p className="empty">
            {isAgentPresent ? 'Words appear here while they are spoken.' : 'Ringing …'}
          </p>
        )}
        {captions.map((caption) => (
          <Line key={caption.id} caption={caption} />
        ))}
        <div ref={end} />
      </div>
    </section>
  );
}

const NAMES: Record<Speaker, string> = { agent: 'Moshi', user: 'You', guest: 'Guest' };

function Line({ caption }: { caption: Caption }) {
  return (
    <p className={`caption ${caption.speaker}`} data-speaker={caption.speaker}>
      <span className="speaker">{NAMES[caption.speaker]}</span>
      <span className="words">
        {caption.words.map((word, index) => (
          // Words only ever join at the end, so the place is a lasting name.
          <span key={index} className="word">
            {word}{' '}
          </span>
        ))}
      </span>
    </p>
  );
}

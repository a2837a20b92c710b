import { useEffect, useRef } from 'react';
import { DemoNotice } from './demo-notice.tsx';
import { PhoneIcon } from './icons.tsx';
import { Legend } from './legend.tsx';
import { ProblemCard } from './problem-card.tsx';
import type { Problem } from './problems.ts';
import { imaginedLevels } from './imagined-levels.ts';
import type { Call } from './use-call.ts';
import { Voices } from './voices.tsx';

interface StartScreenProps {
  call: Extract<Call, { phase: 'idle' | 'ended' | 'failed' }>;
  visitorName: string | null;
  linkProblem: Problem | null;
  isDemo: boolean;
  isBusy: boolean;
  onStart: () => void;
}

/** Before and after a call: one sentence, one button. */
export function StartScreen(props: StartScreenProps) {
  const { call, visitorName, linkProblem, isDemo, isBusy, onStart } = props;
  const problem =
    call.phase === 'failed' ? call.problem : (linkProblem ?? (isBusy ? 'busy' : null));
  const button = useRef<HTMLButtonElement>(null);

  // After a call the focus was on a button that is gone.
  useEffect(() => {
    if (call.phase !== 'idle') {
      button.current?.focus();
    }
  }, [call.phase]);

  return (
    <main className="start">
      <div className="picture">
        <Voices withoutMotion="picture" readLevels={imaginedLevels} />
        <Legend />
      </div>
      <div className="pitch">
        {problem === null ? (
          <>
            {call.phase === 'ended' ? (
              <Farewell durationMs={call.durationMs} />
            ) : (
              <Welcome visitorName={visitorName} />
            )}
            <button ref={button} type="button" className="primary" onClick={onStart}>
              <PhoneIcon />
              {call.phase === 'ended' ? 'Talk again' : 'Start talking'}
            </button>
            <p className="hint">Your browser will ask for the microphone.</p>
          </>
        ) : (
          <ProblemCard heading="h1" problem={problem} onRetry={onStart} />
        )}
        {isDemo && <DemoNotice />}
      </div>
    </main>
  );
}

function Welcome({ visitorName }: { visitorName: string | null }) {
  return (
    <>
      <h1>
        <span>{visitorName === null ? 'Say it.' : `Hello, ${visitorName}.`}</span>{' '}
        <span>No need to wait.</span>
      </h1>
      <p className="lead">
        Moshi listens while it speaks. Cut in, agree, change your mind: it hears you, as a person on
        the phone would.
      </p>
    </>
  );
}

function Farewell({ durationMs }: { durationMs: number }) {
  return (
    <>
      <h1>Good talking to you.</h1>
      <p className="lead" role="status">
        The call lasted {formatDuration(durationMs)}.
      </p>
    </>
  );
}

function formatDuration(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000);
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${seconds} s` : `${minutes} min ${seconds % 60} s`;
}

import { useEffect, useState } from 'react';
import { fetchPageConfig } from './api.ts';
import type { Problem } from './problems.ts';

/** A warm agent is there 0.4 s after the join, a cold one after about 2 s. */
const PATIENCE_MS = 10_000;
/** An agent that loses its connection comes back within a second or two, or not at all. */
const ABSENCE_MS = 4_000;

/**
 * Says what is wrong when no agent is in the room: it never came (busy, or missing), or it left.
 * Null while all is well; also when a late one comes after all.
 */
export function useAgentWatch(isTalking: boolean, isPresent: boolean): Problem | null {
  const [wasPresent, setWasPresent] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  if (isPresent && !wasPresent) {
    setWasPresent(true);
  }
  if (isPresent && problem !== null) {
    setProblem(null);
  }

  useEffect(() => {
    if (!isTalking || isPresent) {
      return;
    }
    let isCurrent = true;
    const timer = setTimeout(
      () => {
        if (wasPresent) {
          setProblem('agent_lost');
          return;
        }
        void reasonForAbsence().then((reason) => {
          if (isCurrent) {
            setProblem(reason);
          }
        });
      },
      wasPresent ? ABSENCE_MS : PATIENCE_MS,
    );
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [isTalking, isPresent, wasPresent]);

  return problem;
}

async function reasonForAbsence(): Promise<Problem> {
  try {
    return (await fetchPageConfig()).availability === 'full' ? 'busy' : 'agent_missing';
  } catch {
    return 'agent_missing';
  }
}

import { useEffect, useRef } from 'react';
import { describeProblem, type Problem } from './problems.ts';

/** What is wrong, what to do, and a button where trying again may help. */
export function ProblemCard({ problem, onRetry }: { problem: Problem; onRetry: () => void }) {
  const { title, advice, retry } = describeProblem(problem);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    button.current?.focus();
  }, [problem]);
  return (
    <section className="problem" role="alert" data-problem={problem}>
      <h2>{title}</h2>
      <p>{advice}</p>
      {retry !== undefined && (
        <button ref={button} type="button" className="primary" onClick={onRetry}>
          {retry}
        </button>
      )}
    </section>
  );
}

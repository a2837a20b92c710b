import { useEffect, useRef } from 'react';
import { describeProblem, type Problem } from './problems.ts';

interface ProblemCardProps {
  problem: Problem;
  onRetry: () => void;
  /** The rank of its title on the page: alone, or part of a call. */
  heading: 'h1' | 'h2';
}

/** What is wrong, what to do, and a button where trying again may help. */
export function ProblemCard({ problem, onRetry, heading: Heading }: ProblemCardProps) {
  const { title, advice, retry } = describeProblem(problem);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    button.current?.focus();
  }, [problem]);
  return (
    <section className="problem" role="alert" data-problem={problem}>
      <Heading>{title}</Heading>
      <p className="lead">{advice}</p>
      {retry !== undefined && (
        <button ref={button} type="button" className="primary" onClick={onRetry}>
          {retry}
        </button>
      )}
    </section>
  );
}

import { useEffect, useState } from 'react';
import { fetchDisplayName, fetchPageConfig, linkIdOf, type PageConfig } from './api.ts';
import { CallScreen } from './call-screen.tsx';
import { Header } from './header.tsx';
import { CallError, type Problem } from './problems.ts';
import { StartScreen } from './start-screen.tsx';
import { useCall } from './use-call.ts';

const linkId = linkIdOf(window.location.pathname);

/** The page: a start screen, and a call. */
export function App() {
  const { call, start, leave } = useCall(linkId);
  const config = usePageConfig();
  const link = useLink();

  return (
    <div className="page">
      <Header model={config?.model ?? null} />
      {call.phase === 'starting' || call.phase === 'talking' ? (
        <CallScreen call={call} onLeave={leave} onCallAgain={start} />
      ) : (
        <StartScreen
          call={call}
          visitorName={link.displayName}
          linkProblem={link.problem}
          isDemo={config?.model?.isDemo === true}
          isBusy={config?.availability === 'full'}
          onStart={start}
        />
      )}
    </div>
  );
}

/** Null until known; the page works without it. */
function usePageConfig(): PageConfig | null {
  const [config, setConfig] = useState<PageConfig | null>(null);
  useEffect(() => {
    fetchPageConfig().then(setConfig, () => setConfig(null));
  }, []);
  return config;
}

/** Whom the link is for, or why it is good for nothing: better said before the visitor tries. */
function useLink(): { displayName: string | null; problem: Problem | null } {
  const [link, setLink] = useState<{ displayName: string | null; problem: Problem | null }>({
    displayName: null,
    problem: null,
  });
  useEffect(() => {
    if (linkId === undefined) {
      return;
    }
    fetchDisplayName(linkId).then(
      (displayName) => setLink({ displayName, problem: null }),
      (error: unknown) =>
        setLink({
          displayName: null,
          problem: error instanceof CallError ? error.problem : 'service_down',
        }),
    );
  }, []);
  return link;
}

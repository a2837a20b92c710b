import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { setLogLevel } from 'livekit-client';
import { App } from './app.tsx';

// The page shows failures itself; the client's own running commentary helps nobody.
setLogLevel('silent');

const container = document.getElementById('page');
if (container === null) {
  throw new Error('index.html has no element with the id "page"');
}
createRoot(container).render(
  <StrictMode>
    <App />
  </StrictMode>,
);

import type { PageConfig } from './api.ts';

/** Name of the product, and which model is on the line. */
export function Header({ model }: { model: PageConfig['model'] }) {
  return (
    <header className="header">
      <p className="wordmark">
        <span className="mark" aria-hidden="true">
          <i />
          <i />
        </span>
        Moshi
      </p>
      {model !== null && (
        <p className="model" title="The model on the line">
          {model.isDemo ? 'demo model' : model.name}
        </p>
      )}
    </header>
  );
}

import type { Linter } from 'eslint';
import eslint from '@eslint/js';
import globals from 'globals';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Forbids the files of one folder to import from others: the arrows of README's picture, enforced. */
function arrow(
  files: string[],
  forbidden: Record<string, string>,
  packages: string[] = [],
): Linter.Config {
  return {
    files,
    ignores: ['**/*.test.ts', '**/*.test.tsx'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            ...Object.entries(forbidden).map(([regex, message]) => ({ regex, message })),
            ...packages.map((group) => ({
              group: [group],
              message: `${group} has no place in this folder.`,
            })),
          ],
        },
      ],
    },
  };
}

/** What all of the engine does without. */
const ENGINE = {
  '/(livekit|agent)/': 'the engine knows no rooms.',
  '/models/(?!manifest|tokenizer/)':
    'the engine reads the manifest and the tokenizer of a built model and nothing else of models/.',
};

/** The engine's own arrows: server → conversations → device → stepping → onnxruntime. */
function engineArrow(folders: string, above: string): Linter.Config {
  return arrow(
    [`plugins/moshi/engine/${folders}/**/*.ts`],
    { ...ENGINE, [`^\\.\\./(${above})/`]: `${folders} know nothing of those who use them.` },
    ['@livekit/*', 'livekit-server-sdk'],
  );
}

export default defineConfig(
  { ignores: ['dist/**', '.cache/**', 'node_modules/**', 'models/demo/**'] },
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      globals: { ...globals.node },
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      'no-console': 'error',
    },
  },
  {
    files: ['**/*.{ts,tsx,mjs}'],
    ignores: ['agent/config.ts', '**/*.test.ts', '**/*.test.tsx'],
    rules: {
      'no-restricted-properties': [
        'error',
        {
          object: 'process',
          property: 'env',
          message: 'agent/config.ts alone reads the environment; take a value instead.',
        },
      ],
    },
  },
  {
    // Runs on a bare Node, before anything is installed or built.
    files: ['**/*.mjs'],
    ...tseslint.configs.disableTypeChecked,
  },
  {
    files: ['**/*.test.ts', '**/*.test.tsx', '**/*.e2e.test.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  arrow(
    ['models/**/*.ts'],
    { '/(plugins|agent)/': 'models/ builds graphs and knows neither engine nor rooms.' },
    ['@livekit/*', 'koffi', 'ws', 'livekit-server-sdk'],
  ),
  arrow(
    ['plugins/moshi/audio/**/*.ts'],
    {
      '/(engine|protocol|livekit|models|agent)/':
        'audio/ is arithmetic on samples, it imports nothing.',
    },
    ['@livekit/*', 'koffi', 'ws'],
  ),
  arrow(
    ['plugins/moshi/protocol/**/*.ts'],
    {
      '/(engine|audio|livekit|models|agent)/':
        'protocol/ is what both sides import, it imports neither.',
    },
    ['@livekit/*', 'koffi'],
  ),
  arrow(['plugins/moshi/engine/**/*.ts'], ENGINE, ['@livekit/*', 'livekit-server-sdk']),
  engineArrow('conversations', 'server'),
  engineArrow('device', 'server|conversations|scheduling|metrics'),
  engineArrow('{stepping,model}', 'server|conversations|scheduling|metrics|device'),
  engineArrow(
    '{onnxruntime,prompts,scheduling,text,metrics}',
    'server|conversations|device|stepping|model',
  ),
  arrow(['plugins/moshi/livekit/**/*.ts'], {
    '/(engine|agent)/': 'the plugin speaks to the engine through protocol/ only.',
    '/models/': 'the plugin knows no graphs.',
  }),
);

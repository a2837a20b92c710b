import { defineConfig } from 'vitest/config';

/**
 * Two projects: `unit` needs nothing but Node; `end-to-end` starts the real livekit-server and
 * Chromium, so its files run one after the other and may take minutes.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{agent,plugins,models}/**/*.test.{ts,tsx}'],
          exclude: ['**/*.e2e.test.ts', '**/node_modules/**', 'dist/**'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'end-to-end',
          include: ['{agent,plugins,models}/**/*.e2e.test.ts'],
          exclude: ['**/node_modules/**', 'dist/**'],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 240_000,
          sequence: { groupOrder: 1 },
          // Real time on a shared host: what a slow moment spoils is tried again, and the report says so.
          retry: 2,
        },
      },
    ],
  },
});

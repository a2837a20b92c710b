import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** The page is one document and hashed assets; `agent/server/build-web.ts` says where they go. */
export default defineConfig({
  root: import.meta.dirname,
  base: '/',
  publicDir: false,
  plugins: [react()],
  build: {
    target: 'es2022',
    // Assets stay files: the content policy allows no inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // livekit-client alone has 500 kB before compression.
    chunkSizeWarningLimit: 1_200,
  },
});

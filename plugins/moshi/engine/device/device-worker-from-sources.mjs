/**
 * Entry of the worker thread when it runs from sources: registers the TypeScript loader first. On
 * Node 20 a worker neither inherits the loader of its process nor gets it by `--import`.
 */
import { register } from 'tsx/esm/api';

register();
await import('./device-worker.ts');

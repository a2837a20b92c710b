/** What the demo model says, by the names of its lines; tests ask for these, whatever it is trained to say. */
import { readFileSync } from 'node:fs';

const repertoire = JSON.parse(
  readFileSync(new URL('../demo/repertoire.json', import.meta.url), 'utf8'),
) as { lines: Record<'greet' | 'name' | 'count', string> };

export const DEMO_LINES = repertoire.lines;

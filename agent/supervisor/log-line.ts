/** Makes the lines of several processes readable in one terminal. */
import type { ChildProcess } from 'node:child_process';

const LEVEL_NAMES: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

/** Fields of a pino line that say nothing to a person who watches. */
const HIDDEN_FIELDS = new Set(['level', 'time', 'msg', 'pid', 'hostname', 'name', 'v']);

/** Turns a line of pino's JSON into `level message key=value`; leaves other lines as they are. */
export function formatLogLine(line: string): string {
  const record = parseRecord(line);
  const level = record === null ? undefined : LEVEL_NAMES[Number(record['level'])];
  if (record === null || level === undefined) {
    return line;
  }
  const fields = Object.entries(record)
    .filter(([name]) => !HIDDEN_FIELDS.has(name))
    .map(([name, value]) => `${name}=${formatValue(value)}`);
  const message = typeof record['msg'] === 'string' ? record['msg'] : '';
  return [level.padEnd(5), message, ...fields].filter((part) => part !== '').join(' ');
}

/** Cuts a stream of text chunks into whole lines. */
export class LineSplitter {
  #rest = '';

  /** The lines this chunk completes. */
  push(chunk: string): string[] {
    const lines = (this.#rest + chunk).split(/\r?\n/);
    this.#rest = lines.pop() ?? '';
    return lines;
  }

  /** What was left without a line end. */
  flush(): string[] {
    const rest = this.#rest;
    this.#rest = '';
    return rest === '' ? [] : [rest];
  }
}

/** Calls for each line that a program prints, on either stream. */
export function forEachLine({ stdout, stderr }: ChildProcess, show: (line: string) => void): void {
  for (const stream of [stdout, stderr]) {
    const splitter = new LineSplitter();
    stream?.setEncoding('utf8');
    stream?.on('data', (chunk: string) => splitter.push(chunk).forEach(show));
    stream?.on('end', () => splitter.flush().forEach(show));
  }
}

/** What a command's `error: …` line says; null for other lines. */
export function errorOfLine(line: string): string | null {
  return line.startsWith('error: ') ? line.slice('error: '.length) : null;
}

function parseRecord(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) {
    return null;
  }
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function formatValue(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'message' in value) {
    return JSON.stringify(value.message);
  }
  return typeof value === 'string' && /^[^\s"]+$/.test(value) ? value : JSON.stringify(value);
}

/** Reads a JSON file of a checkpoint and checks it against a schema. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { z } from 'zod';
import { CheckpointError } from './checkpoint-error.ts';

/** A list with one mistake repeated in every entry needs no more to be understood. */
const MAX_PROBLEMS = 20;

/** @throws CheckpointError when the file cannot be read or is not JSON. */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new CheckpointError(
      `Cannot read ${path}: is the checkpoint complete? Copy the missing file from where it came from.`,
      { cause },
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`${path} is not JSON.`, { cause });
  }
}

/** @throws CheckpointError listing every problem as `config.json: field problem`. */
export function checkJson<T>(schema: z.ZodType<T>, json: unknown, path: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const field = issue.path.map(String).join('.');
    return `${basename(path)}: ${field === '' ? '' : `${field} `}${problem(issue)}`;
  });
  if (problems.length > MAX_PROBLEMS) {
    problems.splice(MAX_PROBLEMS, Infinity, `and ${problems.length - MAX_PROBLEMS} more`);
  }
  throw new CheckpointError(`Cannot use ${path}.\n${problems.join('\n')}`);
}

function problem(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') {
    return `has settings that are not implemented: ${issue.keys.join(', ')}`;
  }
  return issue.code === 'custom' ? issue.message : `is wrong: ${issue.message}`;
}

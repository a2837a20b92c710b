/** Runs Kyutai's own PyTorch code on the checkpoint that `bench frame` measures, with a given Python. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { CommandError, type CommandContext } from '../command-context.ts';

/** Milliseconds of each frame, as peer-frame.py prints them. */
const answer = z.object({
  frame: z.array(z.number()).min(1),
  encode: z.array(z.number()).min(1),
  model: z.array(z.number()).min(1),
  decode: z.array(z.number()).min(1),
});

export interface PeerFigures {
  /** Float32, one conversation. */
  frame: { min: number; p50: number };
  encode: { min: number; p50: number };
  model: { min: number; p50: number };
  decode: { min: number; p50: number };
}

/** @throws {CommandError} when that Python cannot run the package `moshi`. */
export async function measurePeer(
  { environment }: CommandContext,
  options: { python: string; checkpoint: string; threads: number; frames: number },
): Promise<PeerFigures> {
  const { python, checkpoint, threads, frames } = options;
  const script = path.join(import.meta.dirname, 'peer-frame.py');
  const { stdout } = await promisify(execFile)(
    python,
    [script, checkpoint, '--threads', String(threads), '--frames', String(frames)],
    { env: { ...environment, NO_TORCH_COMPILE: '1' } },
  ).catch((cause: unknown) => {
    const last = cause instanceof Error ? cause.message.trim().split('\n').at(-1) : String(cause);
    throw new CommandError(
      `${python} cannot run the package moshi (${last ?? ''}): give --peer a Python that has it`,
      { cause },
    );
  });
  const times = answer.parse(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''));
  return {
    frame: summary(times.frame),
    encode: summary(times.encode),
    model: summary(times.model),
    decode: summary(times.decode),
  };
}

function summary(times: number[]): { min: number; p50: number } {
  const sorted = [...times].sort((a, b) => a - b);
  return {
    min: sorted[0] ?? Number.NaN,
    p50: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN,
  };
}

/** How much memory this process may still take: of the machine, and of its container. */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';

/** Where Linux shows the limits of control groups, version 2. */
const CONTROL_GROUPS = '/sys/fs/cgroup';
/** Which of them this process is in. */
const OWN_CONTROL_GROUP = '/proc/self/cgroup';

/** Bytes, the smaller of what machine and container leave. */
export function availableMemory(): number {
  const group = /^0::(\/.*)$/m.exec(read(OWN_CONTROL_GROUP) ?? '')?.[1] ?? '/';
  return Math.min(freemem(), availableInControlGroup(join(CONTROL_GROUPS, group)));
}

/**
 * What a control group leaves, bytes; Infinity without a limit.
 *
 * Pages of files count as free: the kernel drops them before it runs out, and weights that are read
 * from a mapped file would otherwise look like memory that is gone.
 */
export function availableInControlGroup(folder: string): number {
  const limit = Number.parseInt(read(join(folder, 'memory.max')) ?? '', 10);
  const used = Number.parseInt(read(join(folder, 'memory.current')) ?? '', 10);
  if (Number.isNaN(limit) || Number.isNaN(used)) {
    return Number.POSITIVE_INFINITY;
  }
  const files = /^file (\d+)$/m.exec(read(join(folder, 'memory.stat')) ?? '')?.[1] ?? '0';
  return Math.max(0, limit - used + Number.parseInt(files, 10));
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

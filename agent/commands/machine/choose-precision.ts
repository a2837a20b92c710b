/** Chooses the precision of a model's matrices for a machine, from figures alone. */
import type { Precision } from '../../../models/manifest.ts';
import type { PrecisionNeeds } from '../../../models/precision-needs.ts';

export interface PrecisionQuestion {
  /** Of every precision there is to choose from, at least one; that with the least error first. */
  needs: readonly PrecisionNeeds[];
  /** Conversations that memory is taken for. */
  conversations: number;
  /** What runs the model, for the message. */
  device: string;
  /** Memory that is free for it; null if that is not known. */
  freeBytes: number | null;
  /** Memory's speed as the device reads it; null if that is not known. */
  bytesPerSecond: number | null;
}

export interface PrecisionAnswer {
  precision: Precision;
  /** One line with the figures that decided. */
  reason: string;
  /** Whether there is memory for it, as far as that is known. */
  fits: boolean;
  /** Why it will not go well, with the figures; null if it will. */
  warning: string | null;
}

/** Time of one frame of speech. */
const FRAME_MS = 80;
/** Frames that take longer leave no room for a second conversation or a slow moment. */
const COMFORTABLE_MS = 40;
/** A frame of so few bytes is fast on every machine: there is nothing to choose. */
const SMALL_FRAME_BYTES = 500e6;
/** What ONNX Runtime takes beside weights and states. */
const OVERHEAD_BYTES = 300e6;
/** Beside the weights: buffers while they are rearranged for the kernels, one matrix after the other. */
const OVERHEAD_SHARE = 0.1;

/**
 * Share of memory's speed that the CPU's kernels reach on one row: MatMulNBits of 4096 × 4096 and
 * 4096 × 11264 with blocks of 32, 67 to 74 % with 4 bits and 79 to 84 % with 8; with 4 bits in blocks of
 * 128 the same product takes three quarters of the time and reads 85 % of the bytes.
 */
const KERNEL_SPEED: Readonly<Record<Precision, number>> = {
  f32: 0.95,
  bf16: 0.95,
  f16: 0.95,
  q8: 0.8,
  q4: 0.7,
  'q4-128': 0.78,
};

export function isSmall({ weightBytes }: PrecisionNeeds): boolean {
  return weightBytes < SMALL_FRAME_BYTES;
}

/**
 * The precision with the least error whose frames are comfortably fast and whose memory is there; else
 * the fastest that fits, and that with a warning when it will not keep up with speech.
 */
export function choosePrecision(question: PrecisionQuestion): PrecisionAnswer {
  const { needs, freeBytes, bytesPerSecond, device } = question;
  const options = needs.map((one) => estimate(one, question));
  const fitting = options.filter(({ fits }) => fits);
  const chosen =
    fitting.find(({ isComfortable }) => isComfortable) ?? fitting.at(-1) ?? options.at(-1);
  if (chosen === undefined) {
    throw new RangeError('there is no precision to choose from');
  }
  const machine = [
    freeBytes === null ? 'free memory not known' : `${gigabytes(freeBytes)} free`,
    bytesPerSecond === null ? 'speed not known' : `read at ${gigabytes(bytesPerSecond)}/s`,
  ].join(', ');
  const others = options.filter((one) => one !== chosen).map(({ text }) => text);
  const reason =
    `${chosen.text} on ${device} (${machine}` +
    (others.length > 0 ? `; ${others.join('; ')})` : ')');
  const { precision, fits } = chosen;
  return { precision, reason, fits, warning: warn(chosen, question) };
}

interface Estimate {
  precision: Precision;
  neededBytes: number;
  /** A frame of one conversation whose context is full; null if that is not known. */
  frameMs: number | null;
  fits: boolean;
  isComfortable: boolean;
  text: string;
}

function estimate(
  { precision, weightBytes, bytesPerConversation }: PrecisionNeeds,
  { conversations, freeBytes, bytesPerSecond }: PrecisionQuestion,
): Estimate {
  const neededBytes =
    weightBytes * (1 + OVERHEAD_SHARE) + bytesPerConversation * conversations + OVERHEAD_BYTES;
  const readBytes = weightBytes / KERNEL_SPEED[precision] + bytesPerConversation;
  const frameMs = bytesPerSecond === null ? null : (1_000 * readBytes) / bytesPerSecond;
  const time = frameMs === null ? '' : `, about ${frameMs.toFixed(0)} ms of a frame's ${FRAME_MS}`;
  return {
    precision,
    neededBytes,
    frameMs,
    fits: freeBytes === null || neededBytes <= freeBytes,
    isComfortable: frameMs === null || frameMs <= COMFORTABLE_MS,
    text: `${precision} needs ${gigabytes(neededBytes)}${time}`,
  };
}

function warn(
  { precision, neededBytes, frameMs, fits }: Estimate,
  { freeBytes, conversations }: PrecisionQuestion,
): string | null {
  if (!fits) {
    return (
      `${precision} needs ${gigabytes(neededBytes)} for ${conversations} at once, ` +
      `${gigabytes(freeBytes ?? 0)} are free: use a smaller model, fewer slots or a machine with more memory`
    );
  }
  if (frameMs !== null && frameMs > FRAME_MS) {
    return (
      `this machine is too slow for conversations: with ${precision} a frame of ${FRAME_MS} ms takes ` +
      `about ${frameMs.toFixed(0)} ms: use a smaller model, more threads, a faster machine or a GPU`
    );
  }
  return null;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

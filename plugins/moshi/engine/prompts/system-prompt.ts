/**
 * The system prompt of a PersonaPlex: frames that the model is made to speak, write and hear before
 * the conversation begins, so that it takes on a voice and a role.
 *
 * Source: NVIDIA/personaplex@60620ab moshi/moshi/models/lm.py (`LMGen.step_system_prompts`): the voice,
 * a gap of silence, the text with one token a frame, and a gap again, while the ear hears a tone.
 *
 * Letters: D codebooks the model generates, U it hears, N = D + U, P frames of the prompt.
 */
import { createHash } from 'node:crypto';

import type { ModelManifest, PromptDescription } from '../../../../models/manifest.ts';

/** What happens in one frame of a prompt, before any delay. */
export type PromptFrame = {
  readonly text: number;
  /** [D] codes; any, where an embedding replaces them before they are read. */
  readonly spoken: readonly number[];
  /** [U] codes. */
  readonly heard: readonly number[];
  /** [W] what the step reads in place of the tokens before it, or null. */
  readonly embedding: Float32Array | null;
};

/** What one step of the frame graph is forced to. */
export type ForcedStep = {
  /** Token to write, or FREE. */
  readonly text: number;
  /** [N] codes to speak and to hear, or FREE. */
  readonly codes: readonly number[];
  readonly embedding: Float32Array | null;
};

export type SystemPrompt = {
  /** Equal for equal prompts of one model. */
  readonly key: string;
  /** P: steps that hear no caller. */
  readonly promptSteps: number;
  /** The first P steps, then those of the conversation in which late streams still finish the prompt. */
  readonly steps: readonly ForcedStep[];
};

/** Makes prompts of what clients wish for. */
export interface PromptMaker {
  /**
   * @param wish - Name of a voice, and role in words.
   * @throws Error that tells the client what there is.
   */
  make(wish: { voice?: string | undefined; text?: string | undefined }): Promise<SystemPrompt>;
}

/** Leaves a token to the model, as the graph's inputs want it. */
export const FREE = -1;

export type PromptModel = Pick<
  ModelManifest,
  'paddingToken' | 'maxDelay' | 'textCard' | 'audioCard'
> & { prompt: PromptDescription };

/** What a model cannot be prompted with. */
export class PromptError extends Error {
  override readonly name = 'PromptError';
}

/**
 * @param voice - Frames of the voice, from `voiceFrames` or a recorded voice; none: the model's own.
 * @param textTokens - Ids of the wrapped text; none: no text phase.
 * @throws PromptError if a token lies outside of the model's tables, which would fail a whole step.
 */
export function systemPrompt(
  model: PromptModel,
  voice: readonly PromptFrame[],
  textTokens: readonly number[],
): SystemPrompt {
  const { prompt, paddingToken } = model;
  const silent = (text: number): PromptFrame => ({
    text,
    spoken: prompt.silenceCodes,
    heard: prompt.toneCodes,
    embedding: null,
  });
  const gap = Array.from({ length: prompt.gapFrames }, () => silent(paddingToken));
  const frames = [...voice, ...gap, ...textTokens.map(silent), ...gap];
  for (const { text, spoken, heard } of frames) {
    requireTokens('text token', [text], model.textCard);
    requireTokens('code', [...spoken, ...heard], model.audioCard);
  }
  return {
    key: digest(frames),
    promptSteps: frames.length,
    steps: forceFrames(model, frames),
  };
}

/**
 * Makes a voice of what the codec made of a recording.
 *
 * @param codes - [frames][D].
 */
export function voiceFrames(
  { prompt, paddingToken }: PromptModel,
  codes: readonly (readonly number[])[],
): PromptFrame[] {
  return codes.map((spoken) => ({
    text: paddingToken,
    spoken,
    heard: prompt.toneCodes,
    embedding: null,
  }));
}

/**
 * Makes a voice of what the reference recorded while it was prompted with one: sums of embeddings for
 * all positions but the last, and the ring of tokens as it was then, from which the last position and
 * the codes that were still to come are taken.
 *
 * @param ring - [1+N][R] tokens; position p is in column p mod R.
 * @throws PromptError if the ring is shorter than the model's delays need.
 */
export function recordedVoiceFrames(
  { prompt, paddingToken, maxDelay }: PromptModel,
  embeddings: readonly Float32Array[],
  ring: readonly (readonly number[])[],
): PromptFrame[] {
  const columns = ring[0]?.length ?? 0;
  if (columns < maxDelay + 2) {
    throw new PromptError(
      `The voice's cache has ${columns} columns, the model needs ${maxDelay + 2} or more.`,
    );
  }
  const last = embeddings.length;
  const unread = [paddingToken, ...prompt.silenceCodes, ...prompt.toneCodes];
  return Array.from({ length: last + 1 }, (_, frame) => {
    const tokens = unread.map((replaced, stream) => {
      const position = frame + (prompt.delays[stream] ?? 0);
      return position < last ? replaced : (ring[stream]?.[position % columns] ?? replaced);
    });
    const heardStart = 1 + prompt.silenceCodes.length;
    return {
      text: tokens[0] ?? paddingToken,
      spoken: tokens.slice(1, heardStart),
      heard: tokens.slice(heardStart),
      embedding: embeddings[frame] ?? null,
    };
  });
}

/** Tokens of a prompt's text, between the tags that the model was trained with. */
export function wrapPrompt(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return '';
  const tag = '<system>';
  return trimmed.startsWith(tag) && trimmed.endsWith(tag) && trimmed.length > tag.length
    ? trimmed
    : `${tag} ${trimmed} ${tag}`;
}

/**
 * The step at offset n reads position n and writes position n + 1, and a stream that is late by d
 * keeps at position p what belongs to frame p - d. So step n writes frame n + 1 - d, and hears frame n:
 * the graph delays what is heard itself. The text and the first codes of frame 0 are never read.
 */
function forceFrames(
  { prompt: { delays, silenceCodes }, maxDelay }: PromptModel,
  frames: readonly PromptFrame[],
): ForcedStep[] {
  const count = frames.length === 0 ? 0 : frames.length - 1 + Math.max(1, maxDelay);
  const [textDelay = 0, ...allDelays] = delays;
  const codeDelays = allDelays.slice(0, silenceCodes.length);
  const unheard = frames[0]?.heard.map(() => FREE) ?? [];
  return Array.from({ length: count }, (_, step) => {
    const frame = frames[step];
    return {
      text: frames[step + 1 - textDelay]?.text ?? FREE,
      codes: [
        ...codeDelays.map((delay, codebook) => frames[step + 1 - delay]?.spoken[codebook] ?? FREE),
        ...(frame?.heard ?? unheard),
      ],
      embedding: frame?.embedding ?? null,
    };
  });
}

/** The table has one row more than its cardinality, for the token before the first. */
function requireTokens(kind: string, tokens: readonly number[], card: number): void {
  const wrong = tokens.find((token) => !Number.isInteger(token) || token < 0 || token > card);
  if (wrong !== undefined) {
    throw new PromptError(`The prompt has the ${kind} ${wrong}, the model has 0 to ${card}.`);
  }
}

function digest(frames: readonly PromptFrame[]): string {
  const hash = createHash('sha256');
  for (const { text, spoken, heard, embedding } of frames) {
    hash.update(JSON.stringify([text, spoken, heard]));
    if (embedding !== null) {
      hash.update(new Uint8Array(embedding.buffer, embedding.byteOffset, embedding.byteLength));
    }
  }
  return hash.digest('hex');
}

/** Reads what `models/` has built, at the edge: everything is checked before anything is loaded. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

import {
  MANIFEST_FORMAT_VERSION,
  modelManifest,
  vocabularyPiece,
  type GraphDescription,
  type ModelManifest,
} from '../../../../models/manifest.ts';
import { Vocabulary } from '../text/text-decoder.ts';

/** A model folder cannot be used; the message names the file and what to do. */
export class ModelDirectoryError extends Error {
  override readonly name = 'ModelDirectoryError';

  static unreadable(path: string, cause: unknown): ModelDirectoryError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new ModelDirectoryError(
      `Cannot use ${path}: ${reason}. Build the model again with "npm run moshi -- models build".`,
      { cause },
    );
  }

  static madeFor({ path, manifest }: ModelDirectory, device: string): ModelDirectoryError {
    return new ModelDirectoryError(
      `The graphs in ${path} are made for ${manifest.device}, not for ${device}. Build the model with MOSHI_DEVICE=${device}.`,
    );
  }

  static lacks(directory: string, what: string): ModelDirectoryError {
    return new ModelDirectoryError(
      `The model in ${directory} has no ${what}. Build it again with "npm run moshi -- models build".`,
    );
  }
}

export type ModelDirectory = { path: string; manifest: ModelManifest };

/** @throws ModelDirectoryError if there is no manifest that this engine understands. */
export async function openModelDirectory(path: string): Promise<ModelDirectory> {
  const manifestPath = join(path, 'manifest.json');
  const content = await readJson(manifestPath);
  const format = z.object({ formatVersion: z.number() }).safeParse(content);
  if (format.success && format.data.formatVersion !== MANIFEST_FORMAT_VERSION) {
    throw ModelDirectoryError.unreadable(
      manifestPath,
      `it has format ${format.data.formatVersion}, this engine reads ${MANIFEST_FORMAT_VERSION}`,
    );
  }
  const parsed = modelManifest.safeParse(content);
  if (!parsed.success) {
    throw ModelDirectoryError.unreadable(manifestPath, z.prettifyError(parsed.error));
  }
  for (const file of [
    parsed.data.weightsDirectory,
    ...parsed.data.graphs.map((graph) => join(path, graph.file)),
  ]) {
    try {
      await access(file);
    } catch (error) {
      throw ModelDirectoryError.unreadable(file, error);
    }
  }
  return { path, manifest: parsed.data };
}

/** @throws ModelDirectoryError if the vocabulary is missing or malformed. */
export async function readVocabulary({ path, manifest }: ModelDirectory): Promise<Vocabulary> {
  const vocabularyPath = join(path, manifest.vocabularyFile);
  const parsed = z.array(vocabularyPiece).safeParse(await readJson(vocabularyPath));
  if (!parsed.success) {
    throw ModelDirectoryError.unreadable(vocabularyPath, z.prettifyError(parsed.error));
  }
  return new Vocabulary(parsed.data, [manifest.paddingToken, manifest.endOfPaddingToken]);
}

/**
 * The graphs of one kind that serve `slots` rows, ascending by batch: all smaller ones and the
 * smallest that covers every slot.
 *
 * @throws ModelDirectoryError if none covers all slots.
 */
export function graphsFor(
  { path, manifest }: ModelDirectory,
  kind: GraphDescription['kind'],
  slots: number,
): GraphDescription[] {
  const graphs = manifest.graphs
    .filter((graph) => graph.kind === kind)
    .sort((left, right) => left.batch - right.batch);
  const last = graphs.findIndex((graph) => graph.batch >= slots);
  if (last === -1) {
    const built = graphs.map((graph) => graph.batch).join(', ');
    throw ModelDirectoryError.lacks(
      path,
      `"${kind}" graph for ${slots} conversations at once (batch sizes built: ${built === '' ? 'none' : built})`,
    );
  }
  return graphs.slice(0, last + 1);
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as unknown;
  } catch (error) {
    throw ModelDirectoryError.unreadable(path, error);
  }
}

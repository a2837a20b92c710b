/** `models list`: what has a short name, and what it needs. */
import {
  CATALOGUE,
  findPulled,
  resolveModel,
  type CatalogueEntry,
} from '../../../models/catalogue.ts';
import { catalogueFacts, type CatalogueFacts } from '../../../models/catalogue-facts.ts';
import type { CommandContext } from '../command-context.ts';

/** One model of the catalogue, as `models list --json` prints it. */
export type ListedModel = CatalogueEntry &
  CatalogueFacts & {
    /** Folder of the weights, or null where they must be pulled first. */
    directory: string | null;
  };

export async function listModels(
  context: CommandContext,
  format: { json: boolean },
): Promise<void> {
  const models = await Promise.all(
    CATALOGUE.map(async (entry): Promise<ListedModel> => ({
      ...entry,
      ...(await catalogueFacts(entry)),
      directory: directoryOf(entry, context.config.hub.cacheDirectory),
    })),
  );
  if (format.json) {
    context.print(JSON.stringify(models));
    return;
  }
  for (const model of models) {
    const { f32, bf16, q8, q4 } = model.memoryBytes;
    const state = model.directory ?? (model.isGated ? 'not here, gated' : 'not here');
    context.print(
      `${model.name}  ${model.what} (${model.languages.join(', ')}), ${model.licence}\n` +
        `    ${size(model.downloadBytes)} of files, memory ${size(f32)} as f32, ` +
        `${size(bf16)} as bf16 on a GPU, ${size(q8)} as q8, ${size(q4)} as q4, and ${size(model.bytesPerConversation.q4)} for each further conversation (${size(model.bytesPerConversation.f32)} as f32); ${state}`,
    );
  }
  context.print(
    '"models pull NAME" fetches one, from Hugging Face. Any repository owner/name in one of Kyutai’s ' +
      'layouts is a model, too, and any folder with such files: PyTorch, MLX, Candle or GGUF.',
  );
}

function size(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function directoryOf({ name, repository }: CatalogueEntry, cacheDirectory: string): string | null {
  if (repository === null) return resolveModel(name).directory;
  const found = findPulled(repository, cacheDirectory);
  return 'directory' in found ? found.directory : null;
}

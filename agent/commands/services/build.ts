/** `build`: what the other commands would build when they start. */
import path from 'node:path';
import { buildWebPage } from '../../server/build-web.ts';
import { transcriberConfig } from '../../config.ts';
import { inCache } from '../cache-folder.ts';
import type { CommandContext } from '../command-context.ts';
import { requireModels } from '../model-abilities.ts';
import { buildForEngine } from '../model-for-command.ts';

export async function runBuild(context: CommandContext): Promise<void> {
  const { config } = context;
  await requireModels(context);
  const outputDirectory = path.join(config.cacheDirectory, 'web');
  const page = await inCache(outputDirectory, () => buildWebPage({ outputDirectory }));
  context.remark(`page in ${page.directory}`);
  const model = await buildForEngine(context);
  context.remark(`model ${model.manifest.name} in ${model.directory}`);
  const ofTranscriber = transcriberConfig(config);
  if (ofTranscriber !== null) {
    const { manifest, directory } = await buildForEngine({ ...context, config: ofTranscriber });
    context.remark(`transcriber ${manifest.name} in ${directory}`);
  }
}

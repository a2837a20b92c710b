/** `build`: what the other commands would build when they start. */
import path from 'node:path';
import { buildWebPage } from '../../server/build-web.ts';
import { transcriberConfig } from '../../config.ts';
import { inCache } from '../cache-folder.ts';
import type { CommandContext } from '../command-context.ts';
import { requireTranscription, requireVoice } from '../model-abilities.ts';
import { buildForEngine } from '../model-for-command.ts';

export async function runBuild(context: CommandContext): Promise<void> {
  const { config } = context;
  const ofTranscriber = transcriberConfig(config);
  const transcriber = ofTranscriber && { ...context, config: ofTranscriber };
  await requireVoice(context);
  if (transcriber !== null) {
    await requireTranscription(transcriber);
  }
  const outputDirectory = path.join(config.cacheDirectory, 'web');
  const page = await inCache(outputDirectory, () => buildWebPage({ outputDirectory }));
  context.remark(`page in ${page.directory}`);
  const model = await buildForEngine(context);
  context.remark(`model ${model.manifest.name} in ${model.directory}`);
  if (transcriber !== null) {
    const { manifest, directory } = await buildForEngine(transcriber);
    context.remark(`transcriber ${manifest.name} in ${directory}`);
  }
}

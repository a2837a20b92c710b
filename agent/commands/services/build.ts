/** `build`: what the other commands would build when they start. */
import path from 'node:path';
import { buildWebPage } from '../../server/build-web.ts';
import { inCache } from '../cache-folder.ts';
import type { CommandContext } from '../command-context.ts';
import { requireVoice } from '../model-abilities.ts';
import { buildForEngine } from '../model-for-command.ts';

export async function runBuild(context: CommandContext): Promise<void> {
  await requireVoice(context);
  const outputDirectory = path.join(context.config.cacheDirectory, 'web');
  const page = await inCache(outputDirectory, () => buildWebPage({ outputDirectory }));
  context.remark(`page in ${page.directory}`);
  const model = await buildForEngine(context);
  context.remark(`model ${model.manifest.name} in ${model.directory}`);
}

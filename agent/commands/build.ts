/** `build`: what the other commands would build when they start. */
import path from 'node:path';
import { buildWebPage } from '../server/build-web.ts';
import type { CommandContext } from './command-context.ts';
import { buildForEngine } from './model-for-command.ts';

export async function runBuild(context: CommandContext): Promise<void> {
  const page = await buildWebPage({
    outputDirectory: path.join(context.config.cacheDirectory, 'web'),
  });
  context.remark(`page in ${page.directory}`);
  const model = await buildForEngine(context);
  context.remark(`model ${model.manifest.name} in ${model.directory}`);
}

/** Which commands a model is good for, found out before anything is built. */
import { readModelKind } from '../../models/build.ts';
import { transcriberConfig } from '../config.ts';
import { CommandError, type CommandContext } from './command-context.ts';

/** @throws {CommandError} when the configured model only listens. */
export async function requireVoice({ config }: CommandContext): Promise<void> {
  const { name } = config.model;
  if ((await readModelKind(name, config.hub.cacheDirectory)) === 'stt') {
    throw new CommandError(
      `the model ${name} only listens: it transcribes ("npm run moshi -- transcribe") and cannot ` +
        'converse. Choose a model that speaks, for example "demo", and name this one in ' +
        'MOSHI_TRANSCRIBER to have written down what callers say',
    );
  }
}

/** @throws {CommandError} when the configured model does not transcribe. */
export async function requireTranscription({ config }: CommandContext): Promise<void> {
  const { name } = config.model;
  const kind = await readModelKind(name, config.hub.cacheDirectory);
  if (kind !== 'stt') {
    throw new CommandError(
      `the model ${name} is of the kind "${kind}" and does not transcribe. Choose one that does, for ` +
        'example stt-1b-en_fr or stt-2.6b-en ("npm run moshi -- models list" lists all), or a folder ' +
        'with "model_type": "stt" in its config.json',
    );
  }
}

/**
 * @throws {CommandError} when the configured model does not converse, or the configured transcriber,
 * if there is one, does not transcribe.
 */
export async function requireModels(context: CommandContext): Promise<void> {
  await requireVoice(context);
  const config = transcriberConfig(context.config);
  if (config !== null) {
    await requireTranscription({ ...context, config });
  }
}

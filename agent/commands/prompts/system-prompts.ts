/** Makes system prompts of a voice and a text, for the model of this process. */
import path from 'node:path';
import type { ModelManifest, PromptDescription } from '../../../models/manifest.ts';
import { resolveModel } from '../../../models/build.ts';
import { openTokenizer, type Tokenizer } from '../../../models/tokenizer/tokenizer.ts';
import {
  systemPrompt,
  wrapPrompt,
  type PromptMaker,
  type PromptFrame,
  type SystemPrompt,
} from '../../../plugins/moshi/engine/prompts/system-prompt.ts';
import { MAX_PROMPT_CHARACTERS } from '../../../plugins/moshi/protocol/messages.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import type { BuiltModel } from '../model-for-command.ts';
import {
  findVoices,
  namedVoice,
  readVoice,
  REFERENCE_LOUDNESS,
  resolveVoice,
  type VoiceLoudness,
  type VoiceModel,
} from './voices.ts';

/** Tokens are steps that a caller waits for, and places in the model's memory. */
const MAX_TEXT_TOKENS = 1_000;
/** Voices kept in memory; the published set has 18 of some 2 MB. */
const MAX_VOICES = 32;

/**
 * Whom callers meet where nobody has chosen: NVIDIA's own defaults (NVIDIA/personaplex@60620ab README.md
 * and client). Without that voice the first there is, and without any the model's own.
 */
const DEFAULT_VOICE = 'NATF2';
const DEFAULT_TEXT =
  'You are a wise and friendly teacher. Answer questions or provide advice in a clear and engaging way.';

/** Name of a voice, and role in words. */
type Persona = { voice?: string | undefined; text?: string | undefined };

export class SystemPrompts implements PromptMaker {
  readonly #context: CommandContext;
  readonly #model: VoiceModel;
  readonly #checkpoint: string;
  readonly #tokenizer: Tokenizer;
  readonly #voices = new Map<string, Promise<PromptFrame[]>>();

  private constructor(
    context: CommandContext,
    model: VoiceModel,
    checkpoint: string,
    tokenizer: Tokenizer,
  ) {
    this.#context = context;
    this.#model = model;
    this.#checkpoint = checkpoint;
    this.#tokenizer = tokenizer;
  }

  /** Of the configured model; null for one that takes no prompt. */
  static async open(
    context: CommandContext,
    { directory, manifest }: BuiltModel,
  ): Promise<SystemPrompts | null> {
    if (!takesPrompt(manifest)) {
      return null;
    }
    const { model, hub } = context.config;
    const { directory: checkpoint } = resolveModel(model.name, hub.cacheDirectory);
    const tokenizer = await openTokenizer(path.join(directory, manifest.tokenizerFile));
    return new SystemPrompts(context, manifest, checkpoint, tokenizer);
  }

  /**
   * Of a voice that is named, for clients: a name reaches no file but those beside the model.
   *
   * @throws CommandError naming the voices that there are, or saying what is wrong.
   */
  async make({ voice, text = DEFAULT_TEXT }: Persona): Promise<SystemPrompt> {
    const voices = await findVoices(this.#context, this.#checkpoint);
    const name = voice ?? defaultVoice(voices);
    return this.#compose(name === null ? [] : await this.#namedVoice(voices, name), text);
  }

  /** The same of a voice that is named or a file, for the person at the terminal. */
  async makeFromFile({ voice, text }: Persona, loudness: VoiceLoudness): Promise<SystemPrompt> {
    const frames =
      voice === undefined
        ? []
        : await readVoice(
            this.#context,
            this.#model,
            await resolveVoice(this.#context, this.#checkpoint, voice),
            loudness,
          );
    return this.#compose(frames, text);
  }

  #compose(voice: readonly PromptFrame[], text = ''): SystemPrompt {
    if (text.length > MAX_PROMPT_CHARACTERS) {
      throw new CommandError(
        `the prompt has ${text.length} characters, ${MAX_PROMPT_CHARACTERS} are the most: make it shorter`,
      );
    }
    const wrapped = wrapPrompt(text);
    const tokens = wrapped === '' ? [] : this.#tokenizer.encode(wrapped);
    if (tokens.length > MAX_TEXT_TOKENS) {
      throw new CommandError(
        `the prompt has ${tokens.length} tokens, ${MAX_TEXT_TOKENS} are the most: make it shorter`,
      );
    }
    return systemPrompt(this.#model, voice, tokens);
  }

  async #namedVoice(voices: ReadonlyMap<string, string>, name: string): Promise<PromptFrame[]> {
    const known = this.#voices.get(name);
    if (known !== undefined) {
      return known;
    }
    const file = namedVoice(voices, name);
    const reading = readVoice(this.#context, this.#model, file, REFERENCE_LOUDNESS);
    const [oldest] = this.#voices.keys();
    if (oldest !== undefined && this.#voices.size >= MAX_VOICES) {
      this.#voices.delete(oldest);
    }
    this.#voices.set(name, reading);
    reading.catch(() => this.#voices.delete(name));
    return reading;
  }
}

function defaultVoice(voices: ReadonlyMap<string, string>): string | null {
  const [first = null] = voices.keys();
  return voices.has(DEFAULT_VOICE) ? DEFAULT_VOICE : first;
}

function takesPrompt(
  manifest: ModelManifest,
): manifest is ModelManifest & { prompt: PromptDescription } {
  return manifest.prompt !== null;
}

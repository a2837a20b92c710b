import { llm } from '@livekit/agents';
import type { EngineConversationOptions } from '../client/engine-conversation.ts';
import { isMarkedAsSpeech } from './audio-frames.ts';
import { MoshiSession } from './moshi-session.ts';
import type { TranscriberOptions } from './user-transcriber.ts';

export type MoshiModelOptions = Omit<EngineConversationOptions, 'transcribes'> & {
  /**
   * An engine with a model that transcribes, which writes down what the caller says. The framework takes
   * its words for those of the participant that the session is linked to.
   */
  transcriber?: TranscriberOptions | undefined;
};

/**
 * A Moshi-family model behind an engine, as the full-duplex model of LiveKit's agents.
 *
 * Usable wherever the framework takes a `DuplexModel`; `new llm.DuplexRealtimeAdapter(model)` makes
 * a `llm.RealtimeModel` of it. It hears and speaks all the time and decides for itself when to speak.
 *
 * Moshi was trained on speech alone. It takes no instructions, no chat history and no tools; a
 * session accepts what the framework hands over, so that agents may change in mid-call without a
 * new conversation, and the model goes on as before.
 */
export class MoshiModel extends llm.DuplexModel {
  readonly #options: MoshiModelOptions;

  constructor(options: MoshiModelOptions) {
    super({
      // Without it an STT plugin beside this model may write down what the caller says.
      userTranscription: options.transcriber !== undefined,
      autoToolReplyGeneration: true,
      midSessionChatCtxUpdate: true,
      midSessionInstructionsUpdate: true,
      midSessionToolsUpdate: true,
    });
    this.#options = options;
  }

  override get model(): string {
    return 'moshi';
  }

  override get provider(): string {
    return 'moshi-engine';
  }

  /** The session has decided already, with the text in view; the gate reads the mark. */
  override audioGate(): llm.AudioGate {
    return { update: isMarkedAsSpeech, deactivate: () => undefined };
  }

  /** One conversation: it takes an engine slot from `session.start` on until it is closed. */
  override session(): MoshiSession {
    return new MoshiSession(this, this.#options);
  }

  /** Sessions share nothing, so there is nothing to release. */
  override close(): Promise<void> {
    return Promise.resolve();
  }
}

import { ReadableStream } from 'node:stream/web';
import type { ReadableStreamDefaultController } from 'node:stream/web';
import { llm, log } from '@livekit/agents';
import type { metrics } from '@livekit/agents';
import type { AudioFrame } from '@livekit/rtc-node';
import { createResampler } from '../audio/resampler.ts';
import type { Resampler } from '../audio/resampler.ts';
import { systemClock } from '../client/clock.ts';
import type { Clock } from '../client/clock.ts';
import type { EngineConnectionError } from '../client/engine-connection-error.ts';
import { EngineConversation } from '../client/engine-conversation.ts';
import type { FrameMessage } from '../protocol/frame-message.ts';
import { FRAME_MS, FRAME_SAMPLES, WIRE_SAMPLE_RATE } from '../protocol/messages.ts';
import type { ModelInfo, ReadyMessage } from '../protocol/messages.ts';
import { monoSamples, speechFrame } from './audio-frames.ts';
import type { MoshiModelOptions } from './moshi-model.ts';
import { OutputClock } from './output-clock.ts';
import { OutputGate } from './output-gate.ts';
import { SilenceFiller } from './silence-filler.ts';
import { UserTranscriber } from './user-transcriber.ts';
import type { UserTurn, UserWord } from './user-turns.ts';
import { WordAssembler } from './word-assembler.ts';
import type { TimedWord } from './word-assembler.ts';

/** One step, and where it lies on the time line of the session. */
export type MoshiFrame = FrameMessage & {
  /** Start of `pcm`, ms; grows by 80 per frame, and by the outage at a reconnect. */
  startMs: number;
  /** True if the frame belongs to an utterance, its pauses included. */
  isSpeech: boolean;
};

export type MoshiState = {
  state: 'connecting' | 'ready' | 'reconnecting' | 'failed';
  /** Why, for people to read. */
  message?: string;
};

/** What this session tells besides the framework's own events. */
export type MoshiSessionEvents = {
  moshi_frame: (frame: MoshiFrame) => void;
  moshi_word: (word: TimedWord) => void;
  /** A word of the caller, on the time line of `moshi_frame`: half a second or more after it was said. */
  moshi_user_word: (word: UserWord) => void;
  /** A turn of the caller is over. */
  moshi_user_turn: (turn: UserTurn) => void;
  moshi_state: (event: MoshiState) => void;
};

const METRICS_INTERVAL_MS = 10_000;
/** Frames kept for a reader that falls behind, 2 s; later ones are dropped and counted. */
const MAX_UNREAD_FRAMES = 25;
const SILENT_FRAME = new Float32Array(FRAME_SAMPLES);

/** One conversation with a Moshi engine, as the framework's duplex session. */
export class MoshiSession extends llm.DuplexSession<MoshiSessionEvents> {
  readonly #conversation: EngineConversation;
  readonly #transcriber: UserTranscriber | null;
  readonly #clock: Clock;
  readonly #outputClock = new OutputClock(FRAME_MS);
  readonly #words = new WordAssembler();
  readonly #filler = new SilenceFiller(FRAME_MS);
  readonly #audioStream: ReadableStream<llm.DuplexAudioFrame>;
  #audioController: ReadableStreamDefaultController<llm.DuplexAudioFrame> | null = null;
  #resampler: Resampler | null = null;
  #tools: llm.ToolContext = llm.ToolContext.empty();
  #model: ModelInfo | null = null;
  #gate = new OutputGate(0);
  #conversationId = '';
  #firstReadyMs: number | null = null;
  #reportedUntilMs = 0;
  #inOutage = false;
  #unreadFrames = 0;
  #heardSamples = 0;
  /** Where in all that was heard the model's conversation begins. */
  #originSamples = 0;
  #cancelTick: () => void = () => undefined;
  #cancelMetrics: () => void = () => undefined;

  constructor(model: llm.DuplexModel, { transcriber, ...options }: MoshiModelOptions) {
    super(model);
    this.#clock = options.clock ?? systemClock;
    this.#conversation = new EngineConversation(options);
    this.#transcriber =
      transcriber === undefined
        ? null
        : new UserTranscriber({
            ...transcriber,
            clock: this.#clock,
            random: options.random,
            timeOf: (heardMs) => this.#onOutputClock(heardMs),
          });
    this.#transcriber?.on('word', (...told) => this.#onUserWord(...told));
    this.#transcriber?.on('turn', (...told) => this.#onUserTurn(...told));
    this.#audioStream = new ReadableStream<llm.DuplexAudioFrame>(
      {
        start: (controller) => {
          this.#audioController = controller;
        },
        cancel: () => {
          this.#audioController = null;
        },
      },
      { highWaterMark: MAX_UNREAD_FRAMES },
    );
    this.#conversation.on('ready', ({ ready, connectMs }) => this.#onReady(ready, connectMs));
    this.#conversation.on('frame', (frame) => this.#onFrame(frame));
    this.#conversation.on('reset_done', () => this.#startOver());
    this.#conversation.on('reconnecting', ({ error }) => this.#onLost(error));
    this.#conversation.on('failed', (error) => this.#onFailed(error));
    void this.#connectWhenConfigured();
  }

  /** Every frame of the model, silence included, 24 kHz mono, paced by the input. */
  override get audioStream(): ReadableStream<llm.DuplexAudioFrame> {
    return this.#audioStream;
  }

  override get tools(): llm.ToolContext {
    return this.#tools;
  }

  /** What the engine runs; null until it was reached for the first time. */
  get modelInfo(): ModelInfo | null {
    return this.#model;
  }

  /** Input samples (24 kHz) dropped because no engine was there to take them. */
  get droppedInputSamples(): number {
    return this.#conversation.droppedSamples;
  }

  /** Input samples (24 kHz) that nobody wrote down because no transcriber was there to take them. */
  get droppedTranscriberSamples(): number {
    return this.#transcriber?.droppedSamples ?? 0;
  }

  /** Output frames dropped because nobody read `audioStream`. */
  get unreadFrames(): number {
    return this.#unreadFrames;
  }

  /** Hears a frame of any rate and any number of channels. */
  override pushAudio(frame: AudioFrame): void {
    if (this.#resampler?.inputRate !== frame.sampleRate) {
      this.#resampler = createResampler({
        inputRate: frame.sampleRate,
        outputRate: WIRE_SAMPLE_RATE,
      });
    }
    this.pushSamples(this.#resampler.push(monoSamples(frame)));
  }

  /** Hears samples of 24 kHz mono in [-1, 1], any number. */
  pushSamples(samples: Float32Array): void {
    this.#filler.heard(this.#clock.now());
    this.#hear(samples);
  }

  /** Makes the model forget the conversation and fall silent; the caller's turn is over. */
  reset(): void {
    this.#transcriber?.reset();
    this.#conversation.reset();
  }

  /**
   * Ends the caller's turn as far as it is written down: for callers who leave, and for the end of an
   * agent (`onExit`), because a session that closes tells the framework nothing any more.
   */
  finishUserTurn(): void {
    this.#transcriber?.finishTurn();
  }

  /** Moshi takes no instructions. */
  override _updateInstructions(instructions: string): Promise<void> {
    if (instructions !== '') {
      log().debug('Moshi takes no instructions: the model goes on as it was trained.');
    }
    return Promise.resolve();
  }

  /** Moshi takes no text: the items stay in the framework's history only. */
  override _appendItems(): Promise<void> {
    return Promise.resolve();
  }

  /** Moshi calls no tools: they are kept for whoever asks for them. */
  override _updateTools(tools: llm.ToolContext): Promise<void> {
    this.#tools = tools;
    return Promise.resolve();
  }

  /** The only option there is chooses tools, and Moshi calls none. */
  override _updateOptions(): void {
    return;
  }

  protected override closeConnection(): Promise<void> {
    this.#cancelTick();
    this.#cancelMetrics();
    this.#reportDuration();
    this.#transcriber?.close();
    this.#conversation.close();
    this.#audioController?.close();
    this.#audioController = null;
    return Promise.resolve();
  }

  async #connectWhenConfigured(): Promise<void> {
    await this._configured.wait();
    if (this._closing) {
      return;
    }
    this.emit('moshi_state', { state: 'connecting' });
    this.#conversation.connect();
    this.#transcriber?.connect();
  }

  #onReady(ready: ReadyMessage, connectMs: number): void {
    this.#model = ready.model;
    this.#gate = new OutputGate(ready.model.maxDelay);
    this.#conversationId = ready.conversationId;
    this._reportConnectionAcquired(connectMs);
    if (this.#firstReadyMs === null) {
      this.#originSamples = this.#heardSamples;
      this.#firstReadyMs = this.#clock.now();
      this.#reportedUntilMs = this.#firstReadyMs;
      this.#scheduleTick();
      this.#scheduleMetrics();
    } else {
      this.#startOver();
    }
    this.#inOutage = false;
    this.emit('moshi_state', { state: 'ready' });
  }

  /** The engine's next frame is step 0 of an empty conversation. */
  #startOver(): void {
    this.#originSamples = this.#heardSamples;
    this.#outputClock.restart(this.#clock.now() - (this.#firstReadyMs ?? this.#clock.now()));
    this.#words.flush();
    this.emit('session_reconnected', {});
  }

  #onFrame(frame: FrameMessage): void {
    const model = this.#model;
    if (model === null) {
      return;
    }
    const startMs = this.#outputClock.startOf(frame.step);
    const isPadding =
      frame.textToken === model.paddingToken || frame.textToken === model.endOfPaddingToken;
    const isSpeech = this.#gate.update(frame.pcm, frame.text !== '');
    const wordStartMs = startMs + model.maxDelay * FRAME_MS;
    for (const word of this.#words.push(frame.text, isPadding, wordStartMs, FRAME_MS)) {
      this.emit('moshi_word', word);
      this.emit('transcript_delta', word);
    }
    this.emit('moshi_frame', { ...frame, startMs, isSpeech });
    this.#play(frame.pcm, startMs, isSpeech);
  }

  #play(pcm: Float32Array, startMs: number, isSpeech: boolean): void {
    const controller = this.#audioController;
    if (controller === null) {
      return;
    }
    if ((controller.desiredSize ?? 0) <= 0) {
      this.#unreadFrames += 1;
      return;
    }
    controller.enqueue({ frame: speechFrame(pcm, isSpeech), startMs });
  }

  #hear(samples: Float32Array): void {
    this.#heardSamples += samples.length;
    this.#conversation.pushSamples(samples);
    this.#transcriber?.pushSamples(samples);
  }

  #onUserWord(word: UserWord, turn: UserTurn, startedAt: number): void {
    this.emit('moshi_user_word', word);
    const isFirst = word.text === turn.text;
    if (isFirst) {
      // Harmless for a model that may be spoken over: the framework takes a note and cuts nobody off.
      this.emit('input_speech_started', {});
    }
    this.emit('input_audio_transcription_completed', {
      itemId: turn.turnId,
      transcript: turn.text.trimStart(),
      isFinal: false,
      turnStartedAt: startedAt,
    });
  }

  #onUserTurn(turn: UserTurn, startedAt: number): void {
    this.emit('moshi_user_turn', turn);
    // With transcription the framework would begin another, empty caption here.
    this.emit('input_speech_stopped', { userTranscriptionEnabled: false });
    this.emit('input_audio_transcription_completed', {
      itemId: turn.turnId,
      transcript: turn.text.trimStart(),
      isFinal: true,
      turnStartedAt: startedAt,
    });
  }

  /** Where on the time line of the output something lies that was heard at that time of all input, ms. */
  #onOutputClock(heardMs: number): number {
    const originMs = (1_000 * this.#originSamples) / WIRE_SAMPLE_RATE;
    return Math.max(0, Math.round(this.#outputClock.originMs + heardMs - originMs));
  }

  #onLost(error: EngineConnectionError): void {
    const state = this.#firstReadyMs === null ? 'connecting' : 'reconnecting';
    this.emit('moshi_state', { state, message: error.message });
    // One error per outage: the attempts that follow it are told by the state alone.
    if (!this.#inOutage) {
      this.#inOutage = true;
      this.#emitError(error, true);
    }
  }

  #onFailed(error: EngineConnectionError): void {
    this.#cancelTick();
    this.finishUserTurn();
    this.emit('moshi_state', { state: 'failed', message: error.message });
    this.#emitError(error, false);
  }

  #emitError(error: Error, recoverable: boolean): void {
    // An 'error' event without a listener would throw and end the process.
    if (this.listenerCount('error') > 0) {
      this.emit('error', {
        type: 'realtime_model_error',
        timestamp: Date.now(),
        label: this.duplexModel.label(),
        error,
        recoverable,
      });
    }
  }

  #scheduleTick(): void {
    this.#cancelTick = this.#clock.schedule(FRAME_MS, () => {
      for (let frames = this.#filler.due(this.#clock.now()); frames > 0; frames -= 1) {
        this.#hear(SILENT_FRAME);
      }
      this.#scheduleTick();
    });
  }

  #scheduleMetrics(): void {
    this.#cancelMetrics = this.#clock.schedule(METRICS_INTERVAL_MS, () => {
      this.#reportDuration();
      this.#scheduleMetrics();
    });
  }

  /** Reports the time since the last report; sums up to the length of the conversation. */
  #reportDuration(): void {
    if (this.#firstReadyMs === null) {
      return;
    }
    const nowMs = this.#clock.now();
    this.emit('metrics_collected', {
      type: 'realtime_model_metrics',
      label: this.duplexModel.label(),
      requestId: this.#conversationId,
      timestamp: Date.now(),
      durationMs: 0,
      ttftMs: -1,
      cancelled: false,
      sessionDurationMs: nowMs - this.#reportedUntilMs,
      inputTokens: 0,
      outputTokens: 0,
      totalTokens: 0,
      tokensPerSecond: 0,
      inputTokenDetails: { audioTokens: 0, textTokens: 0, imageTokens: 0, cachedTokens: 0 },
      outputTokenDetails: { audioTokens: 0, textTokens: 0, imageTokens: 0 },
      metadata: {
        modelName: this.#model?.name ?? this.duplexModel.model,
        modelProvider: this.duplexModel.provider,
      },
    } satisfies metrics.RealtimeModelMetrics);
    this.#reportedUntilMs = nowMs;
  }
}

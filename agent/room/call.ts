import { randomUUID } from 'node:crypto';
import { AutoSubscribe, voice } from '@livekit/agents';
import type { JobContext, log } from '@livekit/agents';
import { RoomEvent } from '@livekit/rtc-node';
import type { LocalTrackPublication, RemoteAudioTrack, Room } from '@livekit/rtc-node';
import {
  EngineConnectionError,
  MoshiModel,
  MoshiSession,
  roomOptions,
  sessionOptions,
} from '../../plugins/moshi/index.ts';
import type {
  MoshiFrame,
  MoshiState,
  TimedWord,
  TranscriberOptions,
  UserTurn,
  UserWord,
} from '../../plugins/moshi/index.ts';
import type { CallState } from '../events/room-events.ts';
import { AgentVoice } from './agent-voice.ts';
import { HumanRoster } from './human-roster.ts';
import { ParticipantEar } from './participant-ear.ts';
import { findYoungerRival } from './rival-agent.ts';
import { RoomEventPublisher } from './room-event-publisher.ts';
import { TimingSummary } from './timing-summary.ts';
import { UtteranceTracker } from './utterance.ts';
import { VirtualAudioOutput } from './virtual-audio-output.ts';

type Logger = ReturnType<typeof log>;

export type CallOptions = {
  context: JobContext;
  engineUrl: string;
  engineToken?: string | undefined;
  /** Who writes down what callers say; missing: nobody. */
  transcriber?: TranscriberOptions | undefined;
  /** Who the model is, for models that can be told. */
  persona?: {
    voice?: string | undefined;
    prompt?: string | undefined;
    conditions?: Readonly<Record<string, string>> | undefined;
  };
  logger: Logger;
};

/**
 * How long an empty room is kept for somebody who reloads the page, ms. The engine slot is held as
 * long; who lost the network counts as present for the 15 s or more that LiveKit waits for them.
 */
const GRACE_MS = 10_000;
/** A call in which nothing is heard for so long, not even a muted track, is wedged or abandoned, ms. */
const DEAF_LIMIT_MS = 120_000;
/** Who never subscribes to the agent's track is spoken to after all, ms. */
const SUBSCRIPTION_PATIENCE_MS = 5_000;
/** Between the first packet of a subscription and sound at the caller's ear, ms. */
const SUBSCRIPTION_SETTLING_MS = 200;
const TIMING_INTERVAL_MS = 5_000;
/**
 * Leaving takes a second. A process that hangs in it, as has been seen on a host that stood still again and
 * again, would stay in the room as an agent that is deaf and mute, and no other would be sent for. Milliseconds.
 */
const LEAVE_LIMIT_MS = 15_000;
/** What a process logs goes through another one, ms. */
const LAST_WORDS_MS = 500;
/** Who is gone when a connection comes back may follow within this time, ms. */
const OUTAGE_FORGIVENESS_MS = 10_000;
/** Without the first samples the model's clock would not begin before the microphone is on. */
const FIRST_FRAME = new Float32Array(1_920);

/**
 * One job: a room on one side, a conversation with the engine on the other.
 *
 * The conversation begins when somebody is there who can hear the agent, and begins anew with
 * whoever comes after an empty room, so that everybody is greeted. All ends lead to
 * `#leave`: an agent that can no longer talk must not stay in the room.
 */
export class Call {
  readonly #context: JobContext;
  readonly #room: Room;
  readonly #options: CallOptions;
  readonly #logger: Logger;
  readonly #voice: AgentVoice;
  readonly #roster: HumanRoster;
  readonly #events: RoomEventPublisher;
  readonly #utterances = new UtteranceTracker(randomUUID);
  readonly #timing = new TimingSummary();
  readonly #timers = new Set<NodeJS.Timeout>();
  #agentSession: voice.AgentSession | null = null;
  #moshi: MoshiSession | null = null;
  #ear: ParticipantEar | null = null;
  #publication: LocalTrackPublication | null = null;
  #voiceSubscribed: Promise<void> = Promise.resolve();
  #graceTimer: NodeJS.Timeout | null = null;
  #engineState: MoshiState['state'] = 'connecting';
  #isSpeaking = false;
  /** True once somebody was there who could hear the agent: before, the model hears nothing. */
  #hasBegun = false;
  #lastHeardMs = performance.now();
  #connectedAgainMs = -Infinity;
  /** Whose words are heard; once they left, who comes back after an outage is told from somebody new by it. */
  #lastHuman: string | null = null;
  #lostInOutage = false;

  constructor(options: CallOptions) {
    this.#context = options.context;
    this.#room = options.context.room;
    this.#options = options;
    this.#logger = options.logger;
    this.#voice = new AgentVoice((error) =>
      this.#logger.warn({ error }, 'a frame of speech was not taken by the room'),
    );
    this.#roster = new HumanRoster(this.#room);
    this.#events = new RoomEventPublisher(this.#room, (error) =>
      this.#logger.debug({ error }, 'an event was not taken by the room'),
    );
  }

  /** Joins the room; returns once the agent waits for somebody to talk to. */
  async join(): Promise<void> {
    this.#context.addShutdownCallback(() => this.#close());
    await this.#context.connect(undefined, AutoSubscribe.SUBSCRIBE_NONE);
    const publication = await this.#voice.publish(this.#room);
    this.#publication = publication;
    this.#voiceSubscribed = publication.waitForSubscription();
    this.#room.on(RoomEvent.ParticipantConnected, this.#leaveToRival);
    this.#room.on(RoomEvent.ParticipantConnected, this.#announce);
    this.#room.on(RoomEvent.Reconnecting, this.#onReconnecting);
    this.#room.on(RoomEvent.Reconnected, this.#onReconnected);
    this.#roster.on('heard', this.#onHeard);
    this.#roster.on('microphone', this.#onMicrophone);
    this.#every(TIMING_INTERVAL_MS, () => this.#publishTiming());
    this.#every(1_000, () => this.#watchForDeafness());
    this.#awaitSomebody();
    // The engine is reached while the caller still connects; the conversation begins with them.
    const started = this.#startSession();
    this.#roster.start();
    this.#leaveToRival();
    await started;
  }

  #onHeard = (identity: string | null): void => {
    // What was written down so far is whose it was.
    this.#moshi?.finishUserTurn();
    if (identity === null) {
      this.#logger.info('nobody is there to talk to');
      this.#lostInOutage = this.#isAroundOutage();
      this.#voice.isHeard = false;
      this.#awaitSomebody();
      return;
    }
    if (this.#graceTimer !== null) {
      clearTimeout(this.#graceTimer);
      this.#graceTimer = null;
    }
    this.#lastHeardMs = performance.now();
    const cameBack = this.#lostInOutage && identity === this.#lastHuman;
    this.#lastHuman = identity;
    this.#lostInOutage = false;
    this.#logger.info({ 'lk.pii.identity': identity, cameBack }, 'talking to a participant');
    void this.#converse(identity, cameBack).catch((error: unknown) => this.#fail(error));
  };

  /** Begins the conversation with who is heard, or goes on with it. */
  async #converse(identity: string, cameBack: boolean): Promise<void> {
    await this.#untilSubscribed();
    if (this.#roster.heard !== identity) {
      return;
    }
    this.#voice.isHeard = true;
    if (this.#hasBegun) {
      // The framework links the first participant for good, and has no public way to another.
      this.#agentSession?._roomIO?.setParticipant(identity);
      if (!cameBack) {
        this.#finishUtterance();
        this.#voice.clear();
        this.#moshi?.reset();
      }
    }
    this.#hasBegun = true;
    this.#announce();
    this.#wakeModel();
  }

  /** Starts the model's clock, which goes on by itself from then on. */
  #wakeModel(): void {
    if (this.#hasBegun) {
      this.#moshi?.pushSamples(FIRST_FRAME);
    }
  }

  async #untilSubscribed(): Promise<void> {
    const patience = new Promise<void>((resolve) => {
      this.#later(SUBSCRIPTION_PATIENCE_MS, resolve);
    });
    await Promise.race([this.#voiceSubscribed, patience]);
    await new Promise<void>((resolve) => {
      this.#later(SUBSCRIPTION_SETTLING_MS, resolve);
    });
  }

  async #startSession(): Promise<void> {
    const { engineUrl, engineToken, transcriber, persona } = this.#options;
    const model = new MoshiModel({
      engineUrl,
      reservationKey: this.#context.job.id,
      ...(engineToken !== undefined && { engineToken }),
      transcriber,
      ...persona,
    });
    const session = new voice.AgentSession({ ...sessionOptions, llm: model });
    this.#agentSession = session;
    session.output.audio = new VirtualAudioOutput();
    session.on(voice.AgentSessionEventTypes.AgentStateChanged, ({ newState }) => {
      this.#isSpeaking = newState === 'speaking';
      this.#publishState();
    });
    session.on(voice.AgentSessionEventTypes.Close, ({ reason }) => {
      this.#leave(`the session closed: ${reason}`);
    });
    const agent = voice.Agent.create({
      instructions: '',
      onExit: () => this.#moshi?.finishUserTurn(),
    });
    await session.start({ agent, room: this.#room, ...roomOptions });
    const moshi = agent.duplexSession;
    if (!(moshi instanceof MoshiSession)) {
      throw new TypeError('The session runs another model than the one it was given.');
    }
    this.#moshi = moshi;
    moshi.on('moshi_state', this.#onEngineState);
    moshi.on('moshi_frame', this.#onFrame);
    moshi.on('moshi_word', this.#onWord);
    moshi.on('moshi_user_word', this.#onUserWord);
    moshi.on('moshi_user_turn', this.#onUserTurn);
    moshi.on('error', ({ error, recoverable }) => {
      const code = error instanceof EngineConnectionError ? error.problem : 'failed';
      this.#logger.warn({ code, recoverable, reason: error.message }, 'the engine is in trouble');
      this.#events.publish({ type: 'error', code, message: error.message, recoverable });
    });
    if (moshi.modelInfo !== null) {
      this.#onEngineState({ state: 'ready' });
    }
  }

  #onEngineState = ({ state, message }: MoshiState): void => {
    if (state === this.#engineState) {
      return;
    }
    this.#engineState = state;
    this.#logger.info({ state, reason: message }, 'the engine changed its state');
    if (state === 'ready') {
      this.#wakeModel();
      this.#announce();
    } else {
      this.#finishUtterance();
      this.#publishState();
    }
  };

  #onFrame = (frame: MoshiFrame): void => {
    this.#voice.play(frame.pcm);
    this.#timing.push(frame);
    const final = this.#utterances.pushFrame(frame);
    if (final !== null) {
      this.#events.publish(final);
    }
  };

  #onWord = (word: TimedWord): void => {
    this.#events.publish(this.#utterances.pushWord(word));
  };

  #onUserWord = ({ turnId: segmentId, ...word }: UserWord): void => {
    const identity = this.#lastHuman;
    if (identity !== null) {
      this.#events.publish({ type: 'user_transcript_delta', segmentId, identity, ...word });
    }
  };

  #onUserTurn = ({ turnId: segmentId, ...turn }: UserTurn): void => {
    const identity = this.#lastHuman;
    if (identity !== null) {
      this.#events.publish({ type: 'user_transcript_final', segmentId, identity, ...turn });
    }
  };

  #onMicrophone = (track: RemoteAudioTrack | null): void => {
    void this.#ear?.close().catch(() => undefined);
    this.#ear =
      track &&
      new ParticipantEar(track, {
        onSamples: (samples) => {
          this.#lastHeardMs = performance.now();
          if (this.#hasBegun) {
            this.#moshi?.pushSamples(samples);
          }
        },
        onStall: this.#onStall,
      });
  };

  /** Jitter buffers on both ways learned from the stall to wait; this makes them forget it. */
  #onStall = (gapMs: number): void => {
    this.#logger.warn({ gapMs }, 'this process stood still, the sound starts anew on both ways');
    this.#roster.renewMicrophone();
    void this.#renewVoice().catch((error: unknown) => this.#fail(error));
  };

  async #renewVoice(): Promise<void> {
    const publication = this.#publication;
    // While the connection is being repaired, LiveKit publishes everything anew by itself.
    if (publication?.sid === undefined || !this.#room.isConnected || !this.#hasBegun) {
      return;
    }
    // A second stall may come before the first is over.
    this.#publication = null;
    this.#publication = await this.#voice.renew(this.#room, publication.sid);
  }

  #onReconnecting = (): void => {
    this.#connectedAgainMs = Infinity;
    this.#logger.warn('the connection to the room is lost, trying to get it back');
  };

  #onReconnected = (): void => {
    this.#connectedAgainMs = performance.now();
    this.#logger.info('the connection to the room is back');
    this.#leaveToRival();
    this.#announce();
  };

  #isAroundOutage(): boolean {
    return performance.now() - this.#connectedAgainMs < OUTAGE_FORGIVENESS_MS;
  }

  #leaveToRival = (): void => {
    const rival = findYoungerRival(this.#room);
    if (rival !== undefined) {
      this.#leave('a younger agent of the same name is in the room');
    }
  };

  /** Tells newcomers what everybody else knows already. */
  #announce = (): void => {
    const model = this.#moshi?.modelInfo;
    if (model) {
      this.#events.publish({ type: 'model', name: model.name, isDemo: model.isDemo });
    }
    this.#publishState();
  };

  #publishState(): void {
    this.#events.publish({ type: 'state', state: this.#state() });
  }

  #state(): CallState {
    if (this.#engineState !== 'ready') {
      return this.#engineState;
    }
    return this.#isSpeaking ? 'speaking' : 'listening';
  }

  #finishUtterance(): void {
    const final = this.#utterances.finish();
    if (final !== null) {
      this.#events.publish(final);
    }
  }

  #publishTiming(): void {
    if (this.#moshi !== null) {
      this.#events.publish({
        type: 'timing',
        intervalMs: TIMING_INTERVAL_MS,
        backlogMs: this.#voice.backlogMs,
        droppedOutputMs: this.#voice.droppedMs,
        unheardOutputMs: this.#voice.unheardMs,
        ...this.#timing.take(),
      });
    }
  }

  #awaitSomebody(): void {
    this.#graceTimer = this.#later(GRACE_MS, () => this.#leave('nobody is there'));
  }

  #watchForDeafness(): void {
    if (performance.now() - this.#lastHeardMs > DEAF_LIMIT_MS) {
      this.#leave('nothing was heard for too long');
    }
  }

  /** Ends this job, and with it its process. */
  #leave(reason: string): void {
    this.#context.shutdown(reason);
    setTimeout(() => {
      this.#logger.error({ reason }, 'leaving the room hangs: this process ends itself');
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS).unref();
    }, LEAVE_LIMIT_MS).unref();
  }

  #fail(error: unknown): void {
    this.#logger.error({ error }, 'the conversation could not go on');
    this.#leave('the conversation failed');
  }

  #later(delayMs: number, action: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
    return timer;
  }

  #every(intervalMs: number, action: () => void): void {
    this.#timers.add(setInterval(action, intervalMs));
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) {
      clearTimeout(timer);
    }
    this.#roster.stop();
    this.#room.removeAllListeners(RoomEvent.Reconnected);
    await this.#ear?.close().catch(() => undefined);
    await this.#agentSession?.close();
    await this.#voice.close();
  }
}

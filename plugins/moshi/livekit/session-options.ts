import type { voice } from '@livekit/agents';

/**
 * What an `AgentSession` needs so that the framework does not get in the way of a model that hears
 * and speaks at the same time. Each one matters:
 */
export const sessionOptions = {
  // The bundled voice activity detector would load a model and judge turns that Moshi judges itself.
  vad: null,
  // By default the model hears 3 s of zeros whenever it begins to speak ("echo warm-up").
  aecWarmupDuration: null,
  // A listener who says nothing for 15 s has not gone away.
  userAwayTimeout: null,
  turnHandling: {
    // The model takes the turns; without this a turn detector is started beside it.
    turnDetection: 'realtime_llm',
    interruption: {
      // `false` would replace what the caller says by zeros as long as the model speaks.
      enabled: true,
      discardAudioIfUninterruptible: false,
    },
  },
} satisfies voice.AgentSessionOptions;

/** The same for the room: pass these to `session.start`. */
export const roomOptions = {
  // The recorder keeps all audio of the call.
  record: false,
  inputOptions: {
    // The framework's input path keeps every frame it hears for ever if there is neither VAD nor
    // STT (about 0.5 GB per hour): feed the session with `hearRoom` instead.
    audioEnabled: false,
    // The default interrupts the model and asks it for a reply that it cannot give.
    textInputCallback: () => undefined,
    // A caller who reloads the page comes back within seconds and wants to find the agent alive.
    closeOnDisconnect: false,
  },
  outputOptions: {
    audioSampleRate: 24_000,
    // Back-pressure only; with 50 a stall of the host makes frames pile up before the queue.
    queueSizeMs: 200,
    // Words come at the pace of the audio already.
    syncTranscription: false,
  },
} as const;

/** Moshi-family models for LiveKit's agents: hear and speak at the same time. */
export { MoshiModel } from './livekit/moshi-model.ts';
export type { MoshiModelOptions } from './livekit/moshi-model.ts';
export { MoshiSession } from './livekit/moshi-session.ts';
export type { MoshiFrame, MoshiSessionEvents, MoshiState } from './livekit/moshi-session.ts';
export type { TranscriberOptions } from './livekit/user-transcriber.ts';
export type { UserTurn, UserWord } from './livekit/user-turns.ts';
export type { TimedWord } from './livekit/word-assembler.ts';
export { hearRoom } from './livekit/hear-room.ts';
export { roomOptions, sessionOptions } from './livekit/session-options.ts';
export { EngineConversation } from './client/engine-conversation.ts';
export type {
  EngineConversationEvents,
  EngineConversationOptions,
} from './client/engine-conversation.ts';
export { EngineConnectionError } from './client/engine-connection-error.ts';
export type { ConnectionProblem } from './client/engine-connection-error.ts';
export { fetchEngineHealth, releaseReservation, reserveSlot } from './client/engine-http.ts';
export type { RetryOptions } from './client/retry-budget.ts';
export { systemClock } from './client/clock.ts';
export type { Clock } from './client/clock.ts';
export type { HealthReport, ModelInfo } from './protocol/messages.ts';
export { Resampler, createResampler } from './audio/resampler.ts';
export type { ResamplerOptions } from './audio/resampler.ts';
export { BacklogController } from './audio/backlog-controller.ts';
export { fromPcm16, toPcm16 } from './audio/pcm16.ts';
export type { BacklogCounters } from './audio/backlog-controller.ts';

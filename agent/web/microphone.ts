import { createLocalTracks, type LocalTrack } from 'livekit-client';
import { CallError } from './problems.ts';

/**
 * Opens the microphone. Echo cancellation is essential: the model listens while it speaks and would
 * answer its own voice from the loudspeaker.
 *
 * @throws {CallError} saying why there is none.
 */
export async function openMicrophone(): Promise<LocalTrack> {
  if (!window.isSecureContext) {
    throw new CallError('insecure_page');
  }
  try {
    const [microphone] = await createLocalTracks({
      audio: {
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        channelCount: 1,
      },
    });
    if (microphone !== undefined) {
      return microphone;
    }
  } catch (error) {
    switch (error instanceof Error ? error.name : '') {
      case 'NotAllowedError':
      case 'SecurityError':
        throw new CallError('microphone_denied', error);
      case 'NotFoundError':
      case 'OverconstrainedError':
        throw new CallError('microphone_missing', error);
      case 'NotReadableError':
      case 'AbortError':
        throw new CallError('microphone_busy', error);
      default:
        throw new CallError('microphone_failed', error);
    }
  }
  throw new CallError('microphone_failed');
}

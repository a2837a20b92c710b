import { voice } from '@livekit/agents';
import type { AudioFrame } from '@livekit/rtc-node';

/**
 * An output of the `AgentSession` that makes no sound.
 *
 * The voice goes to the room on a path of its own, silence included; the session still wants to see
 * each utterance played, because agent state, transcripts and history follow the playback. The
 * session's frames arrive at the pace of speech, so an utterance is over when it is flushed.
 */
export class VirtualAudioOutput extends voice.AudioOutput {
  #isPlaying = false;
  #playedSeconds = 0;

  constructor() {
    super(24_000, undefined, { pause: false });
  }

  override async captureFrame(frame: AudioFrame): Promise<void> {
    await super.captureFrame(frame);
    if (!this.#isPlaying) {
      this.#isPlaying = true;
      this.#playedSeconds = 0;
      this.onPlaybackStarted(Date.now());
    }
    this.#playedSeconds += frame.samplesPerChannel / frame.sampleRate;
  }

  override flush(): void {
    super.flush();
    this.#finish(false);
  }

  override clearBuffer(): void {
    this.#finish(true);
  }

  #finish(interrupted: boolean): void {
    if (this.#isPlaying) {
      this.#isPlaying = false;
      this.onPlaybackFinished({ playbackPosition: this.#playedSeconds, interrupted });
    }
  }
}

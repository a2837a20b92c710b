/** Ears and mouth of an `AgentSession` without a room, for tests. */
import { ReadableStream, TransformStream } from 'node:stream/web';
import type { ReadableStreamDefaultController } from 'node:stream/web';
import { voice } from '@livekit/agents';
import { AudioFrame } from '@livekit/rtc-node';

/** A microphone that the test speaks into. */
export class TestMicrophone extends voice.AudioInput {
  #controller: ReadableStreamDefaultController<AudioFrame> | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor() {
    super();
    this.multiStream.addInputStream(
      new ReadableStream<AudioFrame>({
        start: (controller) => {
          this.#controller = controller;
        },
      }),
    );
  }

  /** Speaks samples in real time, 10 ms at a time, and silence after them. */
  speak(samples: Float32Array, sampleRate: number): void {
    this.mute();
    const chunk = sampleRate / 100;
    const startedMs = performance.now();
    let sent = 0;
    this.#timer = setInterval(() => {
      const due = Math.floor((performance.now() - startedMs) / 10);
      for (; sent < due; sent += 1) {
        const data = new Int16Array(chunk);
        samples.subarray(sent * chunk, (sent + 1) * chunk).forEach((sample, index) => {
          data[index] = Math.round(sample * 32_767);
        });
        this.#controller?.enqueue(new AudioFrame(data, sampleRate, 1, chunk));
      }
    }, 5);
  }

  /** The track is gone: nothing comes any more, not even silence. */
  mute(): void {
    if (this.#timer !== null) {
      clearInterval(this.#timer);
    }
  }

  override async close(): Promise<void> {
    this.mute();
    await super.close();
  }
}

/** A loudspeaker that keeps what it plays and takes as long as real playing takes. */
export class TestLoudspeaker extends voice.AudioOutput {
  readonly frames: AudioFrame[] = [];
  #segmentMs = 0;
  #startedMs = 0;

  constructor() {
    super(24_000);
  }

  override async captureFrame(frame: AudioFrame): Promise<void> {
    await super.captureFrame(frame);
    this.frames.push(frame);
    if (this.#segmentMs === 0) {
      this.#startedMs = performance.now();
      this.onPlaybackStarted(Date.now());
    }
    this.#segmentMs += (frame.samplesPerChannel * 1000) / frame.sampleRate;
  }

  override flush(): void {
    super.flush();
    const segmentMs = this.#segmentMs;
    this.#segmentMs = 0;
    if (segmentMs > 0) {
      const restMs = Math.max(0, this.#startedMs + segmentMs - performance.now());
      setTimeout(
        () => this.onPlaybackFinished({ playbackPosition: segmentMs / 1000, interrupted: false }),
        restMs,
      );
    }
  }

  override clearBuffer(): void {
    if (this.#segmentMs > 0) {
      const playbackPosition = this.#segmentMs / 1000;
      this.#segmentMs = 0;
      super.flush();
      this.onPlaybackFinished({ playbackPosition, interrupted: true });
    }
  }
}

/** An agent that keeps the words as they come on their way to the room's captions. */
export class CaptionedAgent extends voice.Agent {
  readonly captions: voice.TimedString[] = [];

  override transcriptionNode(
    text: ReadableStream<string | voice.TimedString>,
  ): Promise<ReadableStream<string | voice.TimedString>> {
    const keep = new TransformStream<string | voice.TimedString, string | voice.TimedString>({
      transform: (word, controller) => {
        this.captions.push(
          typeof word === 'string' ? voice.createTimedString({ text: word }) : word,
        );
        controller.enqueue(word);
      },
    });
    return Promise.resolve(text.pipeThrough(keep));
  }
}

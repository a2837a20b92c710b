/** What the engine counts, for `/metrics` (Prometheus) and `/health`. */
import { performance } from 'node:perf_hooks';
import { Counter, Gauge, Registry } from 'prom-client';

import type { EngineErrorCode, HealthReport } from '../../protocol/messages.ts';
import { BufferedHistogram } from './buffered-histogram.ts';
import type { HostLoad } from './host-load.ts';

/** Steps that the percentiles of `/health` look back on: 41 s of one conversation. */
const RECENT_STEPS = 512;

/** A frame lasts this long, so a step that takes longer falls behind. */
const DEADLINE_MS = 80;

const FAULTS = [
  /** One row computed something that is no speech; its conversation ended. */
  'row_failed',
  /** A step was refused; the conversations in it ended. */
  'step_failed',
  /** The same for want of memory. */
  'out_of_memory',
  /** A step did not end; the engine gave up. */
  'step_hung',
  /** The device is gone or refuses every step; the engine gave up. */
  'device_lost',
] as const;
export type Fault = (typeof FAULTS)[number];

export class EngineMetrics {
  readonly registry = new Registry();
  readonly #dropped: Counter;
  readonly #faults: Counter;
  readonly #moves: Counter;
  readonly #prompts: Counter;
  readonly #errors: Counter;
  readonly #stepSeconds: BufferedHistogram;
  readonly #queuedSeconds: BufferedHistogram;
  readonly #recentMs = new Float64Array(RECENT_STEPS);
  #stepsTotal = 0;
  #rowStepsTotal = 0;
  #lateTotal = 0;
  #deviceThreadMs = 0;
  #droppedTotal = 0;

  constructor(
    slots: { total: number; usable: () => number; used: () => number },
    host: Pick<HostLoad, 'cpuMs' | 'takeDelayP99Ms'>,
  ) {
    const registers = [this.registry];
    new Gauge({
      name: 'process_start_time_seconds',
      help: 'When this engine began, since 1970: what changes here is a restart.',
      registers,
    }).set(performance.timeOrigin / 1000);
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
    /** For what changes with every step: it is looked at when somebody asks. */
    const total = (name: string, help: string, read: () => number): Counter =>
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    new Gauge({ name: 'moshi_slots', help: 'Conversations at once.', registers }).set(slots.total);
    new Gauge({
      name: 'moshi_slots_usable',
      help: 'Conversations at once that would be served in time.',
      registers,
      collect() {
        this.set(slots.usable());
      },
    });
    new Gauge({
      name: 'moshi_slots_used',
      help: 'Conversations and live reservations.',
      registers,
      collect() {
        this.set(slots.used());
      },
    });
    total('moshi_steps_total', 'Runs of a frame graph.', () => this.#stepsTotal);
    total(
      'moshi_frames_total',
      'Frames of 80 ms computed, all conversations.',
      () => this.#rowStepsTotal,
    );
    total(
      'moshi_late_steps_total',
      'Steps that took longer than a frame lasts.',
      () => this.#lateTotal,
    );
    this.#dropped = counter('moshi_dropped_frames_total', 'Input frames dropped to bound the lag.');
    total(
      'moshi_device_thread_seconds_total',
      'CPU time of the thread that runs the graphs, without what it spent in ONNX Runtime.',
      () => this.#deviceThreadMs / 1000,
    );
    total(
      'moshi_main_thread_seconds_total',
      'CPU time of the main thread.',
      () => host.cpuMs / 1000,
    );
    new Gauge({
      name: 'moshi_event_loop_delay_p99_seconds',
      help: 'How late the main thread was since this was last asked, 99th percentile.',
      registers,
      collect() {
        this.set(host.takeDelayP99Ms() / 1000);
      },
    });
    this.#moves = counter('moshi_moves_total', 'Conversations moved into a lower slot.');
    this.#faults = new Counter({
      name: 'moshi_faults_total',
      help: 'What went wrong on the device.',
      labelNames: ['fault'],
      registers,
    });
    for (const fault of FAULTS) {
      this.#faults.inc({ fault }, 0);
    }
    this.#prompts = new Counter({
      name: 'moshi_prompts_total',
      help: 'Conversations begun with a prompt, from a snapshot or step by step.',
      labelNames: ['from'],
      registers,
    });
    this.#errors = new Counter({
      name: 'moshi_errors_total',
      help: 'Conversations that ended with an error.',
      labelNames: ['code'],
      registers,
    });
    const buckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.24, 0.5, 1];
    this.#stepSeconds = new BufferedHistogram({
      name: 'moshi_step_seconds',
      help: 'Time of a step on the device.',
      buckets,
      registers,
    });
    this.#queuedSeconds = new BufferedHistogram({
      name: 'moshi_queued_seconds',
      help: 'Time a frame of input waited for its step.',
      buckets,
      registers,
    });
  }

  /**
   * @param step - `stepMs`: its time on the device. `hostMs`: CPU time of the device's thread since
   *   the step before, without what it spent in ONNX Runtime.
   */
  step({ stepMs, hostMs }: { stepMs: number; hostMs: number }, frames: number): void {
    this.#deviceThreadMs += hostMs;
    this.#recentMs[this.#stepsTotal % RECENT_STEPS] = stepMs;
    this.#stepsTotal += 1;
    this.#rowStepsTotal += frames;
    this.#stepSeconds.observe(stepMs / 1000);
    if (stepMs > DEADLINE_MS) {
      this.#lateTotal += 1;
    }
  }

  queued(queuedMs: number): void {
    this.#queuedSeconds.observe(queuedMs / 1000);
  }

  dropped(frames: number): void {
    this.#droppedTotal += frames;
    this.#dropped.inc(frames);
  }

  moved(): void {
    this.#moves.inc();
  }

  prompted(fromSnapshot: boolean): void {
    this.#prompts.inc({ from: fromSnapshot ? 'snapshot' : 'steps' });
  }

  fault(fault: Fault): void {
    this.#faults.inc({ fault });
  }

  error(code: EngineErrorCode): void {
    this.#errors.inc({ code });
  }

  report(): Pick<HealthReport, 'stepsTotal' | 'droppedFramesTotal' | 'stepMs'> {
    const recent = this.#recentMs.slice(0, Math.min(this.#stepsTotal, RECENT_STEPS)).sort();
    const quantile = (fraction: number): number =>
      recent[Math.min(recent.length - 1, Math.floor(recent.length * fraction))] ?? 0;
    return {
      stepsTotal: this.#stepsTotal,
      droppedFramesTotal: this.#droppedTotal,
      stepMs: recent.length === 0 ? null : { p50: quantile(0.5), p99: quantile(0.99) },
    };
  }
}

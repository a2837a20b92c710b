/** What one run of a session moves between the host and its device. */
export type RunTraffic = {
  /** Of inputs, before the run. */
  toDevice: { copies: number; bytes: number };
  /** Of outputs, after it. */
  toHost: { copies: number; bytes: number };
  /**
   * How often the host waits for the device. None on the CPU, where a run is computed by the thread
   * that asks for it. On CUDA copies and the recorded run are put into one stream, whose end is waited
   * for once. On WebGPU the host waits at the end of the run and at most for every output.
   */
  hostWaits: number;
};

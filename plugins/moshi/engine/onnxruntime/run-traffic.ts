/** What one run of a session moves between the host and its device. */
export type RunTraffic = {
  /** Of inputs, before the run. */
  toDevice: { copies: number; bytes: number };
  /** Of outputs, after it. */
  toHost: { copies: number; bytes: number };
  /**
   * How often the host waits for the device. None on the CPU, where a run is computed by the thread
   * that asks for it. On CUDA each copy from or to memory that is not page-locked waits for the stream
   * (CUDA Runtime API, "API synchronization behavior"), and so does the end of the run. On WebGPU the
   * host waits at the end of the run and at most for every output.
   */
  hostWaits: number;
};

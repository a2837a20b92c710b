export class HoldBacklog {
  trim(samples: Float32Array): Float32Array {
    return samples;
  }
  reset(): void {}
}

/** LiveKit's 16-bit samples to and from ours: full scale 32,768 is 1 in both directions. */
const FULL_SCALE = 32_768;

/** Samples in [-1, 1). The result owns its buffer. */
export function fromPcm16(pcm: Int16Array): Float32Array {
  const samples = new Float32Array(pcm.length);
  for (let index = 0; index < pcm.length; index += 1) {
    samples[index] = (pcm[index] ?? 0) / FULL_SCALE;
  }
  return samples;
}

/**
 * Rounds to 16 bits; what is beyond full scale saturates. The result owns its buffer: LiveKit sends
 * a frame's whole underlying buffer and ignores where a view begins.
 */
export function toPcm16(samples: Float32Array): Int16Array {
  const pcm = new Int16Array(samples.length);
  for (let index = 0; index < samples.length; index += 1) {
    const value = Math.round((samples[index] ?? 0) * FULL_SCALE);
    pcm[index] = Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, value));
  }
  return pcm;
}

/** A checkpoint that cannot be used: what was read, what was found, and what would be right. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
}

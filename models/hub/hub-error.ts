/** Weights could not be fetched or found; the message says what to do. */
export class HubError extends Error {
  override readonly name = 'HubError';
}

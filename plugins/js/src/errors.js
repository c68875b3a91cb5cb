/** Why a plugin, or one of its generations, did not succeed. */

/** The sentence with which a plugin fails, for the client to read. */
export class PluginError extends Error {
  name = 'PluginError';
}

const WORDS = {
  cancelled: () => 'the generation was cancelled',
  'deadline-exceeded': () => "the generation's deadline passed",
  'budget-exhausted': (detail) => `a limit is used up: ${detail}`,
  rejected: (detail) => `rejected: ${detail}`,
  unavailable: (detail) => `no model server could answer: ${detail}`,
};

/** Why a generation, or a call to the host, did not succeed: `kind` is a case of the contract. */
export class Failure extends Error {
  name = 'Failure';

  constructor(kind, detail) {
    super(WORDS[kind](detail));
    this.kind = kind;
    this.detail = detail;
  }
}

/**
 * What a client is told of what a plugin threw. The plugin's own sentences, and failures, stand as they
 * are; any other error is a mistake in the plugin, and its type is told too.
 */
export function sentence(thrown) {
  if (typeof thrown === 'string') return thrown;
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return sentence(thrown.errors[0]);
  if (thrown instanceof PluginError || thrown instanceof Failure) return thrown.message;
  if (thrown instanceof Error) return `${thrown.name}: ${thrown.message}`;
  return String(thrown);
}

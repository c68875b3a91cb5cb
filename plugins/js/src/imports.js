/** What both worlds import: only in a component this module can be imported. */

import * as context from 'conclave:deliberation/context@0.1.0';
import * as inference from 'conclave:deliberation/inference@0.1.0';
import * as progress from 'conclave:deliberation/progress@0.1.0';

import { Failure, PluginError, sentence } from './errors.js';
import { paramsSchema } from './params.js';

/** The host of a component. */
export class Imports {
  /** Made when the first job is submitted: not every plugin runs generations. */
  #jobs;

  submit(request) {
    const job = failing(() => inference.submit(request));
    const id = job.id();
    this.#jobs ??= new inference.JobSet();
    return { id, index: this.#jobs.add(job) };
  }

  next(timeoutMs) {
    const event = this.#jobs.next(timeoutMs);
    if (event.tag === 'empty') throw new PluginError('the host lost a generation that is open');
    if (event.tag === 'timed-out') return undefined;
    const { index, jobId, outcome } = event.val;
    if (outcome.tag === 'err') return { index, failure: failure(outcome.val) };
    const { logprobs, ...generation } = outcome.val;
    return { index, generation: { job: jobId, ...generation, logprobs: [...logprobs] } };
  }

  cancel(index) {
    this.#jobs.cancel(index);
  }

  /**
   * A set without open jobs answers at once, whatever the timeout. The clock of the component waits
   * instead: the host makes that a timer of the session, which a replay repeats.
   */
  sleep(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  remaining() {
    return context.remaining();
  }

  elapsedMs() {
    return context.elapsedMs();
  }

  random() {
    return context.randomU32();
  }

  emit(kind, payload) {
    progress.emit(kind, payload);
  }

  log(level, message) {
    progress.log(level, message);
  }
}

/** Runs a call to the host; what it throws is a `Failure`. */
export function failing(call) {
  try {
    return call();
  } catch (thrown) {
    throw thrown?.payload?.tag ? failure(thrown.payload) : thrown?.tag ? failure(thrown) : thrown;
  }
}

function failure({ tag, val }) {
  return new Failure(tag, val);
}

/** What a plugin says of itself. */
export function describing(plugin) {
  return {
    describe: () => ({
      name: plugin.name,
      version: plugin.version,
      summary: plugin.summary,
      paramsSchema: paramsSchema(plugin),
    }),
  };
}

/** Runs a plugin; what it throws becomes the error of the contract, which must be a text. */
export async function told(host, run) {
  try {
    return await run();
  } catch (thrown) {
    host.log('error', thrown?.stack ? `${thrown}\n${thrown.stack}` : String(thrown));
    throw sentence(thrown);
  }
}

/**
 * Runs a plugin's async function, and turns the host's blocking waits into settled promises.
 *
 * There is one thread. When the plugin can do nothing more, the executor waits for the next completion of
 * the one job set that all jobs are in, or for the next timer, and settles the promise of whoever waits
 * for it. Everything happens in the order in which the host delivers completions, so a replay that
 * delivers the same ones runs the same way.
 */

import { Failure, PluginError } from './errors.js';

/**
 * Ends when every promise reaction that can run has run: a macrotask comes after all microtasks. In a
 * component a timer of 0 ms is ready at once, and no effect of the session.
 */
const drained = () => new Promise((resolve) => setTimeout(resolve, 0));

export class Executor {
  /** By the index in the host's job set. */
  #open = new Map();
  /** In the order in which they were set. */
  #timers = new Set();

  constructor(host) {
    this.host = host;
  }

  /** Runs `work` to its end; fails when it waits for what can never come. */
  async run(work) {
    let settled;
    // The function is called in a promise, so that what it throws at once is a rejection too.
    Promise.resolve()
      .then(work)
      .then(
        (value) => (settled = { value }),
        (error) => (settled = { error }),
      );
    for (;;) {
      await drained();
      if (settled) break;
      await this.#wait();
    }
    if ('error' in settled) throw settled.error;
    return settled.value;
  }

  submit(request) {
    const { id, index } = this.host.submit(request);
    const promise = new Promise((resolve, reject) => this.#open.set(index, { resolve, reject }));
    // A job whose failure nobody looks at is no reason to fail the plugin.
    promise.catch(() => {});
    return { id, index, promise };
  }

  cancel(index) {
    const job = this.#open.get(index);
    if (!job) return;
    this.#open.delete(index);
    this.host.cancel(index);
    job.reject(new Failure('cancelled'));
  }

  /** A promise that is kept after so many milliseconds; `stop` gives the timer up. */
  sleep(ms) {
    const timer = { dueMs: this.host.elapsedMs() + ms };
    const promise = new Promise((resolve) => (timer.fire = resolve));
    this.#timers.add(timer);
    promise.stop = () => this.#timers.delete(timer);
    return promise;
  }

  async #wait() {
    let dueMs = Infinity;
    for (const timer of this.#timers) dueMs = Math.min(dueMs, timer.dueMs);
    if (this.#open.size === 0 && dueMs === Infinity) {
      throw new PluginError(
        'deadlock: the plugin waits, but no generation is open and no timer is set',
      );
    }
    const leftMs = dueMs === Infinity ? undefined : Math.max(dueMs - this.host.elapsedMs(), 0);
    let completed;
    if (leftMs !== 0) {
      if (this.#open.size === 0) await this.host.sleep(leftMs);
      else completed = this.host.next(leftMs);
    }
    if (completed) this.#complete(completed);
    else this.#fire(dueMs);
  }

  #complete({ index, generation, failure }) {
    const job = this.#open.get(index);
    this.#open.delete(index);
    if (failure) job.reject(failure);
    else job.resolve(generation);
  }

  #fire(dueMs) {
    const due = [...this.#timers].filter((timer) => timer.dueMs <= dueMs);
    due.sort((a, b) => a.dueMs - b.dueMs);
    for (const timer of due) {
      this.#timers.delete(timer);
      timer.fire();
    }
  }
}

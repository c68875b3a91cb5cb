/** What a plugin can do while it runs. */

/** The largest integer that the contract lets through. */
const INTEGER_MAX = 2 ** 31 - 1;

/** Milliseconds as the contract has them: whole, and rounded up so that a wait is never too short. */
export function milliseconds(ms) {
  if (!(ms >= 0)) throw new RangeError(`${ms} is no duration in milliseconds`);
  return Math.min(Math.ceil(ms), INTEGER_MAX);
}

/**
 * A generation that is running: `await` it, or its `promise`, for the result. Nothing but `cancel` ends
 * it early: an abandoned promise goes on.
 */
class Job {
  #executor;
  #index;

  constructor(executor, { id, index }, promise) {
    this.#executor = executor;
    this.#index = index;
    this.id = id;
    this.promise = promise;
  }

  then(fulfilled, rejected) {
    return this.promise.then(fulfilled, rejected);
  }

  /** Cancels it, in the model server too; whoever awaits it gets a `Failure` of kind `cancelled`. */
  cancel() {
    this.#executor.cancel(this.#index);
  }
}

/** The session around a plugin. Whatever it answers is the same again in a replay. */
export class Session {
  #executor;

  constructor(executor) {
    this.#executor = executor;
  }

  submit({ agent, prompt, system, messages, ...settings }) {
    const { promise, ...submitted } = this.#executor.submit({
      agent: typeof agent === 'string' ? agent : (agent?.id ?? ''),
      messages: conversation(system, prompt, messages),
      phase: settings.phase ?? 'answer',
      round: settings.round ?? 0,
      sampling: {
        temperature: settings.temperature,
        topP: settings.topP,
        maxTokens: settings.maxTokens,
        stop: settings.stop ?? [],
        seed: settings.seed,
        logprobs: settings.logprobs,
        jsonSchema: settings.jsonSchema === undefined ? undefined : JSON.stringify(settings.jsonSchema),
      },
      priority: settings.priority,
      deadlineMs: settings.deadlineMs === undefined ? undefined : milliseconds(settings.deadlineMs),
    });
    return new Job(this.#executor, submitted, promise);
  }

  async generate(request) {
    return await this.submit(request).promise;
  }

  async all(functions) {
    const all = [...functions];
    const room = Math.max(this.remaining().openGenerations ?? all.length, 1);
    // All workers take from one iterator.
    const waiting = all.entries();
    const results = [];
    let failed = false;
    const worker = async () => {
      for (const [number, run] of waiting) {
        if (failed) return;
        try {
          results[number] = await run();
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(room, all.length) }, worker));
    return results;
  }

  async *asCompleted(jobs) {
    const left = new Map([...jobs].entries());
    const settled = new Map();
    for (const [index, job] of left) {
      settled.set(
        index,
        job.then(
          (value) => ({ index, status: 'fulfilled', value }),
          (reason) => ({ index, status: 'rejected', reason }),
        ),
      );
    }
    try {
      while (left.size > 0) {
        const next = await Promise.race(settled.values());
        settled.delete(next.index);
        left.delete(next.index);
        yield next;
      }
    } finally {
      for (const job of left.values()) job.cancel?.();
    }
  }

  sleep(ms) {
    return this.#executor.sleep(milliseconds(ms));
  }

  async within(ms, work) {
    const timer = this.#executor.sleep(milliseconds(ms));
    try {
      return await Promise.race([
        work,
        timer.then(() => {
          work.cancel?.();
          throw new TimeoutError(`it took longer than ${ms} ms`);
        }),
      ]);
    } finally {
      timer.stop();
    }
  }

  remaining() {
    return this.#executor.host.remaining();
  }

  elapsedMs() {
    return this.#executor.host.elapsedMs();
  }

  random() {
    return this.#executor.host.random();
  }

  emit(kind, value) {
    this.#executor.host.emit(kind, JSON.stringify(value));
  }

  log(level, message) {
    this.#executor.host.log(level, String(message));
  }
}

/** The session around a strategy: that of every plugin, and the deliberation's scorer. */
export class Context extends Session {
  #score;

  constructor(executor) {
    super(executor);
    this.#score = (candidates) => executor.host.score(candidates);
  }

  score(candidates) {
    return this.#score(candidates);
  }
}

/** The time of a `within` passed. */
export class TimeoutError extends Error {
  name = 'TimeoutError';
}

function conversation(system, prompt, messages = []) {
  const all = [];
  if (system?.trim()) all.push({ role: 'system', content: system });
  all.push(...messages);
  if (prompt !== undefined) all.push({ role: 'user', content: prompt });
  return all;
}

/** A scripted host, on which plugins run in native tests. */

import { Failure } from './errors.js';
import * as run from './run.js';

/** A task with agents of these ids, the model `model`, and no parameters. */
export function task(description, agents, changes = {}) {
  return {
    id: 'task',
    description,
    role: '',
    agents: agents.map((id) => ({ id, role: '', model: 'model', promptTemplate: undefined })),
    model: 'model',
    metadata: [],
    params: '{}',
    ...changes,
  };
}

/**
 * A host that answers from functions, with a clock of its own: nothing really waits. Generations finish
 * after their latency, and those of one latency in the order in which they were submitted.
 */
export class Script {
  #answer;
  #latencyMs;
  #grade;
  #limits;
  #random = 0;
  #open = [];

  nowMs = 0;
  requests = [];
  cancelled = [];
  events = [];
  messages = [];

  constructor(answer, { latencyMs = () => 1, grade, generations, openGenerations } = {}) {
    this.#answer = answer;
    this.#latencyMs = latencyMs;
    this.#grade = grade ?? ((candidates) => candidates.map(() => ({ value: 0.5 })));
    this.#limits = { generations, openGenerations };
  }

  deliberate(plugin, task, params = {}) {
    return run.deliberate(plugin, { ...task, params: JSON.stringify(params) }, this);
  }

  evaluate(plugin, task, candidates, params = {}) {
    return run.evaluate(plugin, { ...task, params: JSON.stringify(params) }, candidates, this);
  }

  // The host.

  submit(request) {
    const left = this.remaining();
    if (left.generations === 0) throw new Failure('budget-exhausted', 'generations');
    if (left.openGenerations === 0) throw new Failure('budget-exhausted', 'open generations');
    const index = this.requests.length;
    this.requests.push(request);
    const latencyMs = this.#latencyMs(request);
    const completed = { index, atMs: this.nowMs + latencyMs };
    try {
      completed.generation = {
        job: index + 1,
        text: this.#answer(request),
        reasoning: undefined,
        finish: 'stop',
        usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 1 },
        logprobs: [],
        latencyMs,
      };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      completed.failure = error;
    }
    this.#open.push(completed);
    this.#open.sort((a, b) => a.atMs - b.atMs || a.index - b.index);
    return { id: index + 1, index };
  }

  next(timeoutMs) {
    const { atMs } = this.#open[0];
    if (timeoutMs !== undefined && this.nowMs + timeoutMs < atMs) {
      this.nowMs += timeoutMs;
      return undefined;
    }
    this.nowMs = Math.max(this.nowMs, atMs);
    return this.#open.shift();
  }

  cancel(index) {
    this.#open = this.#open.filter((job) => job.index !== index);
    this.cancelled.push(index + 1);
  }

  sleep(ms) {
    this.nowMs += ms;
  }

  remaining() {
    const left = (limit, used) => (limit === undefined ? undefined : Math.max(limit - used, 0));
    return {
      generations: left(this.#limits.generations, this.requests.length),
      openGenerations: left(this.#limits.openGenerations, this.#open.length),
    };
  }

  elapsedMs() {
    return this.nowMs;
  }

  random() {
    return this.#random++;
  }

  emit(kind, payload) {
    this.events.push([kind, JSON.parse(payload)]);
  }

  log(level, message) {
    this.messages.push(message);
  }

  score(candidates) {
    return this.#grade(candidates);
  }
}

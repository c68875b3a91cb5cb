/** Write Conclave strategies and scorers in JavaScript. */

/** One voice in a deliberation. */
export interface Agent {
  id: string;
  role: string;
  model: string;
  /** Jinja over `task`, `role`, `agent` and `metadata`; undefined means the plugin's own prompt. */
  promptTemplate?: string;
}

/** What a client asked for. */
export interface Task {
  /** The client's id of the task. */
  id: string;
  description: string;
  role: string;
  /** At least one. */
  agents: Agent[];
  /** The deliberation's model, for generations that are no agent's. */
  model: string;
  /** Only the keys that the operator allows to reach a prompt. */
  metadata: [string, string][];
  /** A JSON object; a plugin gets it as `params`, with the defaults of its schema. */
  params: string;
}

/** One message of a chat prompt. */
export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** One call to a language model. What is left out is left to the model server. */
export interface GenerationRequest {
  /** One of the task's agents, or its id; left out asks the task's own model. */
  agent?: Agent | string;
  /** A message of the user, after `messages`. */
  prompt?: string;
  /** A message of the system, before `messages`. */
  system?: string;
  messages?: Message[];
  /** What the generation is for, in a word that watchers see; `answer` unless set. */
  phase?: string;
  /** The round of the strategy, from 0. */
  round?: number;
  /** 0 (greedy) to 2. */
  temperature?: number;
  /** Above 0, at most 1. */
  topP?: number;
  /** At least 1. */
  maxTokens?: number;
  stop?: string[];
  /** Take it from `ctx.random()` when samples shall differ. */
  seed?: number;
  /** Ask for log-probabilities and this many alternatives to each token, 0 to 20. */
  logprobs?: number;
  /** A JSON Schema that the answer shall satisfy, where the server can do it. */
  jsonSchema?: object;
  /** 0 (first) to 255 (last) among this deliberation's waiting generations. */
  priority?: number;
  /** Give up on this generation after so many milliseconds. */
  deadlineMs?: number;
}

/** A finished generation. */
export interface Generation {
  /** The number of its job, for `Candidate.jobs`. */
  job: number;
  text: string;
  /** What a reasoning model thought first. */
  reasoning?: string;
  finish: 'stop' | 'length' | 'aborted';
  usage: { promptTokens: number; cachedTokens: number; completionTokens: number };
  logprobs: number[];
  latencyMs: number;
}

/** An answer that a strategy puts forward. */
export interface Candidate {
  agent: string;
  content: string;
  reasoning?: string;
  /** The generations that it came from. */
  jobs?: number[];
}

/** A grade. */
export interface Score {
  /** 0 (worst) to 1 (best). */
  value: number;
  /** How sure the scorer is, 0 to 1. */
  confidence?: number;
  /** Why, for people. */
  rationale?: string;
}

/** What a strategy answers with. */
export interface Outcome {
  /** Best first, at least one: the first is the winner. */
  ranked: { candidate: Candidate; score: Score }[];
  /** How the winner was chosen, in a sentence for people. */
  reasoning: string;
  /** At least 1, which is the default. */
  rounds?: number;
  /** Whether generations that might have run did not. */
  stoppedEarly?: boolean;
  /** More facts for the client. */
  metadata?: Record<string, string | number | boolean>;
}

/** What is left of the deliberation's limits; undefined is unlimited. */
export interface Budget {
  generations?: number;
  tokens?: number;
  wallMs?: number;
  openGenerations?: number;
}

/** A generation that is running: `await` it for the result. An abandoned one goes on. */
export interface Job extends PromiseLike<Generation> {
  /** Its number in the deliberation, from 1. */
  readonly id: number;
  readonly promise: Promise<Generation>;
  /** Cancels it, in the model server too; whoever awaits it gets a `Failure` of kind `cancelled`. */
  cancel(): void;
}

/** A result of `asCompleted`: `index` counts the jobs as they were given. */
export type Settled<T> =
  | { index: number; status: 'fulfilled'; value: T }
  | { index: number; status: 'rejected'; reason: Error };

/** The session around a plugin. Whatever it answers is the same again in a replay. */
export interface Session {
  /** Asks for a generation and returns at once. Throws a `Failure` when it is refused. */
  submit(request: GenerationRequest): Job;
  /** Asks for a generation and waits for the answer. Rejects with a `Failure`. */
  generate(request: GenerationRequest): Promise<Generation>;
  /**
   * Runs functions together, and returns their results in the order of the functions. Unlike
   * `Promise.all` it begins the next one only when the deliberation's limit on open generations leaves
   * room for it, if each has one generation open at a time.
   */
  all<T>(functions: Iterable<() => Promise<T>>): Promise<T[]>;
  /**
   * Yields results in the order in which they come. Jobs that are left when the loop is left are
   * cancelled.
   */
  asCompleted<T>(jobs: Iterable<PromiseLike<T> & { cancel?(): void }>): AsyncGenerator<Settled<T>>;
  /** Waits in the deliberation's time. `setTimeout` does not fire while generations are waited for. */
  sleep(ms: number): Promise<void>;
  /** Waits for this long at most, then cancels `work` if it is a job, and throws a `TimeoutError`. */
  within<T>(ms: number, work: PromiseLike<T> & { cancel?(): void }): Promise<T>;
  remaining(): Budget;
  /** Milliseconds from the deliberation's acceptance to the last effect of this plugin. */
  elapsedMs(): number;
  /** The next number of the deliberation's own generator: 0 to 2147483647, uniform. */
  random(): number;
  /** Tells watchers something: a short kind (letters, digits, `-`, `_`, `.`) and a JSON value. */
  emit(kind: string, value: unknown): void;
  /** Writes to the host's log, where its operator has plugins logged. */
  log(level: 'trace' | 'debug' | 'info' | 'warn' | 'error', message: unknown): void;
}

/** The session around a strategy: that of every plugin, and the deliberation's scorer. */
export interface Context extends Session {
  /**
   * Grades candidates with the scorer that the client chose: one score for each, in order. Throws a
   * `Failure`: `rejected` carries the scorer's own error. The strategy stands still meanwhile.
   */
  score(candidates: Candidate[]): Score[];
}

interface Plugin {
  /** Lower-case words with hyphens, at most 64 characters. */
  name: string;
  /** Semantic version, for example `1.2.0`. */
  version: string;
  /** What it does, in one sentence. */
  summary: string;
  /**
   * The JSON Schema of what a client may set, an object. The host checks a client's parameters against
   * it; what the client leaves out has the `default` of the schema.
   */
  params?: object;
}

/** Decides which generations to run, and answers with ranked candidates. */
export interface Strategy<Params = unknown> extends Plugin {
  deliberate(ctx: Context, task: Task, params: Params): Promise<Outcome>;
}

/** Grades candidates: one score for each, in order. */
export interface Scorer<Params = unknown> extends Plugin {
  evaluate(ctx: Session, task: Task, candidates: Candidate[], params: Params): Promise<Score[]>;
}

/** The sentence with which a plugin fails, for the client to read. */
export class PluginError extends Error {}

/** Why a generation, or a call to the host, did not succeed. */
export class Failure extends Error {
  constructor(kind: Failure['kind'], detail?: string);
  readonly kind:
    | 'cancelled'
    | 'deadline-exceeded'
    | 'budget-exhausted'
    | 'rejected'
    | 'unavailable';
  readonly detail?: string;
}

/** The time of a `within` passed. */
export class TimeoutError extends Error {}

/** What one generation says, as the answer of an agent. */
export function candidateOf(agent: Agent, generation: Generation): Candidate;

/** An outcome with the candidates ranked by their scores; equal scores keep their order. */
export function byScore(
  candidates: Candidate[],
  scores: Score[],
  reasoning: string,
  more?: Partial<Omit<Outcome, 'ranked' | 'reasoning'>>,
): Outcome;

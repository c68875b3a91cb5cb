import type { Candidate, Outcome, Score, Scorer, Strategy, Task } from './index.js';

/** A request as the contract has it. */
export interface SubmittedRequest {
  agent: string;
  messages: { role: string; content: string }[];
  phase: string;
  round: number;
  sampling: Record<string, unknown>;
  priority?: number;
  deadlineMs?: number;
}

/** A task with agents of these ids, the model `model`, and no parameters. */
export function task(description: string, agents: string[], changes?: Partial<Task>): Task;

/** A host that answers from functions, with a clock of its own: nothing really waits. */
export class Script {
  constructor(
    /** The text of a request; it throws a `Failure` where the generation fails. */
    answer: (request: SubmittedRequest) => string,
    options?: {
      /** How long a generation takes; 1 ms unless set. */
      latencyMs?: (request: SubmittedRequest) => number;
      /** The deliberation's scorer; 0.5 for each unless set. */
      grade?: (candidates: Candidate[]) => Score[];
      generations?: number;
      openGenerations?: number;
    },
  );
  deliberate(plugin: Strategy<any>, task: Task, params?: object): Promise<Outcome>;
  evaluate(plugin: Scorer<any>, task: Task, candidates: Candidate[], params?: object): Promise<Score[]>;
  /** The time on the host's clock, in milliseconds from the deliberation's acceptance. */
  nowMs: number;
  requests: SubmittedRequest[];
  /** The numbers of the jobs that were cancelled. */
  cancelled: number[];
  /** Kind and value of what was emitted. */
  events: [string, unknown][];
  messages: string[];
}

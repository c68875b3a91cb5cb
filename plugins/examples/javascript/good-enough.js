/**
 * The strategy `good-enough`: every agent answers at the same time; each answer is scored when it comes,
 * and the first that reaches the threshold wins. Who has not answered by then is cancelled.
 */

import { byScore, candidateOf, PluginError } from '../../js/src/index.js';

/** @typedef {{ threshold: number, patience_ms: number, max_tokens: number }} Params */

/** @type {import('../../js/src/index.js').Strategy<Params>} */
export const goodEnough = {
  name: 'good-enough',
  version: '0.1.0',
  summary: 'Scores each answer when it comes and stops at the first that is good enough.',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      threshold: {
        description: 'The score that is good enough.',
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.8,
      },
      patience_ms: {
        description: 'Milliseconds after which those who have not answered are left out.',
        type: 'integer',
        minimum: 1,
        maximum: 2147483647,
        default: 60000,
      },
      max_tokens: {
        description: 'Tokens of an answer at most.',
        type: 'integer',
        minimum: 1,
        maximum: 2147483647,
        default: 512,
      },
    },
  },

  async deliberate(ctx, task, params) {
    const jobs = task.agents.map((agent) =>
      ctx.submit({
        agent,
        prompt: task.description,
        maxTokens: params.max_tokens,
        seed: ctx.random(),
        deadlineMs: params.patience_ms,
      }),
    );
    const candidates = [];
    const scores = [];
    for await (const answer of ctx.asCompleted(jobs)) {
      const agent = task.agents[answer.index];
      if (answer.status === 'rejected') {
        ctx.emit('no-answer', { agent: agent.id, why: answer.reason.message });
        continue;
      }
      const candidate = candidateOf(agent, answer.value);
      const [score] = ctx.score([candidate]);
      candidates.push(candidate);
      scores.push(score);
      if (score.value >= params.threshold) break;
    }
    if (candidates.length === 0) throw new PluginError('no agent answered');
    const best = Math.max(...scores.map(({ value }) => value));
    const reasoning =
      best >= params.threshold
        ? `the first answer with a score of at least ${params.threshold}`
        : `no answer reached ${params.threshold}: the best score`;
    return byScore(candidates, scores, reasoning, {
      stoppedEarly: candidates.length < task.agents.length,
      metadata: { answered: candidates.length },
    });
  },
};

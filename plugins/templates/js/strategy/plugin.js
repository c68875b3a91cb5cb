/** The strategy `my-plugin`: every agent answers at the same time, and the scorer chooses. */

import { byScore, candidateOf, Failure, PluginError } from './vendor/conclave-sdk/index.js';

/** @typedef {{ temperature: number | null, max_tokens: number }} Params */

/** @type {import('./vendor/conclave-sdk/index.js').Strategy<Params>} */
export const plugin = {
  name: 'my-plugin',
  version: '0.1.0',
  summary: 'Every agent answers once, and the scorer chooses.',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      temperature: {
        description: '0 (greedy) to 2; null leaves it to the model server.',
        type: ['number', 'null'],
        minimum: 0,
        maximum: 2,
        default: null,
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
    const candidates = [];
    let why = '';
    const ask = (agent) => async () => {
      try {
        return await ctx.generate({
          agent,
          prompt: task.description,
          temperature: params.temperature ?? undefined,
          maxTokens: params.max_tokens,
        });
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        why = `: ${error.message}`;
        return undefined;
      }
    };
    const answers = await ctx.all(task.agents.map(ask));
    for (const [i, answer] of answers.entries()) {
      if (answer) candidates.push(candidateOf(task.agents[i], answer));
    }
    if (candidates.length === 0) throw new PluginError(`no agent answered${why}`);
    return byScore(candidates, ctx.score(candidates), 'the best score');
  },
};

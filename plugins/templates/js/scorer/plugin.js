/** The scorer `my-plugin`: the task's model grades each candidate from 0 to 10. */

import { PluginError } from './vendor/conclave-sdk/index.js';

/** @typedef {{ rubric: string }} Params */

/** @type {import('./vendor/conclave-sdk/index.js').Scorer<Params>} */
export const plugin = {
  name: 'my-plugin',
  version: '0.1.0',
  summary: "The task's model grades each candidate from 0 to 10.",
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rubric: {
        description: 'What makes an answer good.',
        type: 'string',
        minLength: 1,
        default: 'Is the answer correct and to the point?',
      },
    },
  },

  async evaluate(ctx, task, candidates, params) {
    const grade = (candidate) => async () => {
      const prompt =
        `Task: ${task.description}\n\nAnswer: ${candidate.content}\n\n${params.rubric} ` +
        'Grade the answer from 0 to 10. Reply with the number alone.';
      const { text } = await ctx.generate({ prompt, phase: 'grade' });
      return score(candidate, text);
    };
    return await ctx.all(candidates.map(grade));
  },
};

/** The first number of a text, if it is one from 0 to 10. */
function score({ agent }, text) {
  const [grade] = text.match(/\d+(\.\d+)?/) ?? [];
  if (grade === undefined || Number(grade) > 10) {
    throw new PluginError(`the answer of agent \`${agent}\`: the model gave no grade from 0 to 10`);
  }
  return { value: Number(grade) / 10, rationale: `${grade} of 10` };
}

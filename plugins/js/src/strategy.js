/** Makes a component of the world `strategy`. */

import * as scoring from 'conclave:deliberation/scoring@0.1.0';

import { describing, failing, Imports, told } from './imports.js';
import { requireWhole } from './params.js';
import * as run from './run.js';

class StrategyImports extends Imports {
  score(candidates) {
    return failing(() => scoring.evaluate(candidates.map(wholeCandidate)));
  }
}

/** What the main module exports: `export const { describe, deliberate } = component(plugin);` */
export function component(plugin) {
  requireWhole(plugin, 'deliberate');
  return {
    describe: describing(plugin),
    async deliberate(task) {
      const host = new StrategyImports();
      return await told(host, async () => wholeOutcome(await run.deliberate(plugin, task, host)));
    },
  };
}

function wholeOutcome({ ranked, reasoning, rounds, stoppedEarly, metadata }) {
  return {
    ranked: ranked.map(({ candidate, score }) => ({ candidate: wholeCandidate(candidate), score })),
    reasoning: reasoning ?? '',
    rounds: rounds ?? 1,
    stoppedEarly: stoppedEarly ?? false,
    metadata: Object.entries(metadata ?? {}).map(([key, value]) => [key, String(value)]),
  };
}

function wholeCandidate({ agent, content, reasoning, jobs }) {
  return { agent, content, reasoning, jobs: jobs ?? [] };
}

import type { Scorer } from './index.js';

/** What the main module exports: `export const { describe, evaluate } = component(plugin);` */
export function component(plugin: Scorer<any>): {
  describe: object;
  evaluate: (task: unknown, candidates: unknown) => Promise<unknown>;
};

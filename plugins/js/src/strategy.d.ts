import type { Strategy } from './index.js';

/** What the main module exports: `export const { describe, deliberate } = component(plugin);` */
export function component(plugin: Strategy<any>): {
  describe: object;
  deliberate: (task: unknown) => Promise<unknown>;
};

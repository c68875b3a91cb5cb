/** Makes a component of the world `scorer`. */

import { describing, Imports, told } from './imports.js';
import { requireWhole } from './params.js';
import * as run from './run.js';

/** What the main module exports: `export const { describe, evaluate } = component(plugin);` */
export function component(plugin) {
  requireWhole(plugin, 'evaluate');
  return {
    describe: describing(plugin),
    async evaluate(task, candidates) {
      const host = new Imports();
      return await told(host, () => run.evaluate(plugin, task, candidates, host));
    },
  };
}

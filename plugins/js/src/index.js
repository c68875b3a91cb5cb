/**
 * Write Conclave strategies and scorers in JavaScript.
 *
 * A plugin is an object with an async function; `strategy.js` or `scorer.js` makes a component of it,
 * `testing.js` runs it on a scripted host. The types are in `index.d.ts`.
 */

export { Failure, PluginError } from './errors.js';
export { byScore, candidateOf } from './outcome.js';
export { TimeoutError } from './session.js';

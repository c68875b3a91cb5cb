/** A call from the host becomes one of the plugin's. */

import { PluginError } from './errors.js';
import { Executor } from './executor.js';
import { paramsOf } from './params.js';
import { Context, Session } from './session.js';

/** Answers a call of `deliberate`. */
export async function deliberate(plugin, task, host) {
  const executor = new Executor(host);
  const params = paramsOf(plugin, task);
  const outcome = await executor.run(() => plugin.deliberate(new Context(executor), task, params));
  if (!Array.isArray(outcome?.ranked)) {
    throw new PluginError('`deliberate` returned no outcome: an object with `ranked`');
  }
  return outcome;
}

/** Answers a call of `evaluate`. */
export async function evaluate(plugin, task, candidates, host) {
  const executor = new Executor(host);
  const params = paramsOf(plugin, task);
  const scores = await executor.run(() =>
    plugin.evaluate(new Session(executor), task, candidates, params),
  );
  if (!Array.isArray(scores)) throw new PluginError('`evaluate` returned no list of scores');
  return scores;
}

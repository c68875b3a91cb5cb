/** Parameters by JSON Schema. */

import { PluginError } from './errors.js';

const NONE = { type: 'object', properties: {}, additionalProperties: false };

/** The JSON Schema of a plugin's parameters, as JSON text. */
export function paramsSchema(plugin) {
  return JSON.stringify({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    ...(plugin.params ?? NONE),
  });
}

/**
 * The parameters of a task, which the host has checked against the schema; what the client left out has
 * the schema's `default`.
 */
export function paramsOf(plugin, task) {
  let given;
  try {
    given = JSON.parse(task.params);
  } catch (error) {
    throw new PluginError(`params: ${error.message}`);
  }
  return withDefaults(plugin.params ?? NONE, given);
}

function withDefaults(schema, given) {
  const isObject = typeof given === 'object' && given !== null && !Array.isArray(given);
  if (!isObject || !schema.properties) return given;
  const all = { ...given };
  for (const [name, of] of Object.entries(schema.properties)) {
    if (name in given) all[name] = withDefaults(of, given[name]);
    else if ('default' in of) all[name] = withDefaults(of, structuredClone(of.default));
  }
  return all;
}

/** Fails with what a plugin lacks: called when the component is built. */
export function requireWhole(plugin, run) {
  for (const member of ['name', 'version', 'summary']) {
    if (typeof plugin[member] !== 'string') throw new TypeError(`the plugin has no text \`${member}\``);
  }
  if (typeof plugin[run] !== 'function') throw new TypeError(`the plugin has no function \`${run}\``);
}

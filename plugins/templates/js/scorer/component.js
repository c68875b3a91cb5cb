// Only a component has the host's imports: what tests run is in plugin.js.
import { plugin } from './plugin.js';
import { component } from './vendor/conclave-sdk/scorer.js';

export const { describe, evaluate } = component(plugin);

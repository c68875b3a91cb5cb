// Only a component has the host's imports: what tests run is in plugin.js.
import { plugin } from './plugin.js';
import { component } from './vendor/conclave-sdk/strategy.js';

export const { describe, deliberate } = component(plugin);

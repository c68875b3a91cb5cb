import { component } from '../../js/src/strategy.js';
import { goodEnough } from './good-enough.js';

export const { describe, deliberate } = component(goodEnough);

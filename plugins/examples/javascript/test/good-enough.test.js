import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Failure } from '../../../js/src/index.js';
import { Script, task } from '../../../js/src/testing.js';
import { goodEnough } from '../good-enough.js';

const latency = { a: 20, b: 10, c: 1_000 };
const latencyMs = ({ agent }) => latency[agent];
const byLength = (candidates) => candidates.map(({ content }) => ({ value: content.length / 10 }));

test('the first answer that is good enough wins, and the slow are cancelled', async () => {
  const answers = { a: 'long enough', b: 'short', c: 'the longest' };
  const script = new Script(({ agent }) => answers[agent].slice(0, 10), { latencyMs, grade: byLength });
  const outcome = await script.deliberate(goodEnough, task('?', ['a', 'b', 'c']));
  assert.deepEqual(
    outcome.ranked.map(({ candidate }) => candidate.agent),
    ['a', 'b'],
  );
  assert.equal(outcome.stoppedEarly, true);
  assert.deepEqual(script.cancelled, [3]);
  assert.equal(script.nowMs, 20);
});

test('when none is good enough, the best wins', async () => {
  const answers = { a: 'xx', b: 'x', c: 'xxx' };
  const script = new Script(({ agent }) => answers[agent], { latencyMs, grade: byLength });
  const outcome = await script.deliberate(goodEnough, task('?', ['a', 'b', 'c']), { threshold: 0.9 });
  assert.equal(outcome.ranked[0].candidate.agent, 'c');
  assert.equal(outcome.stoppedEarly, false);
});

test('when nobody answers, the strategy fails', async () => {
  const script = new Script(() => {
    throw new Failure('unavailable', 'down');
  });
  await assert.rejects(script.deliberate(goodEnough, task('?', ['a'])), /no agent answered/);
  assert.equal(script.events[0][0], 'no-answer');
});

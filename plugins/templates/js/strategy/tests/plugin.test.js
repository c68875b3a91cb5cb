import assert from 'node:assert/strict';
import { test } from 'node:test';

import { plugin } from '../plugin.js';
import { Failure } from '../vendor/conclave-sdk/index.js';
import { Script, task } from '../vendor/conclave-sdk/testing.js';

test('the best score wins', async () => {
  const script = new Script(({ agent }) => `${agent} says hello`, {
    grade: (all) => all.map(({ agent }) => ({ value: agent === 'bob' ? 0.9 : 0.1 })),
  });
  const outcome = await script.deliberate(plugin, task('Say hello.', ['ada', 'bob', 'eve']));
  assert.equal(outcome.ranked[0].candidate.content, 'bob says hello');
  assert.equal(script.requests.length, 3);
});

test('when nobody answers it fails', async () => {
  const script = new Script(() => {
    throw new Failure('unavailable', 'down');
  });
  await assert.rejects(script.deliberate(plugin, task('?', ['ada'])), /no agent answered: .*down/);
});

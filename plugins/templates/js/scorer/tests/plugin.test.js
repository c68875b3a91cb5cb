import assert from 'node:assert/strict';
import { test } from 'node:test';

import { plugin } from '../plugin.js';
import { Script, task } from '../vendor/conclave-sdk/testing.js';

test('grades become scores', async () => {
  const script = new Script(({ messages }) =>
    messages[0].content.includes('Answer: yes') ? '9' : 'Grade: 2.5',
  );
  const candidates = [
    { agent: 'ada', content: 'yes' },
    { agent: 'bob', content: 'no' },
  ];
  const scores = await script.evaluate(plugin, task('Is 7 prime?', ['ada', 'bob']), candidates);
  assert.deepEqual(
    scores.map(({ value }) => value),
    [0.9, 0.25],
  );
});

test('what is no grade fails', async () => {
  const script = new Script(() => 'Nice.');
  const graded = script.evaluate(plugin, task('?', ['ada']), [{ agent: 'ada', content: 'yes' }]);
  await assert.rejects(graded, /the model gave no grade from 0 to 10/);
});

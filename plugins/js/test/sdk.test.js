/** The SDK on a scripted host. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { byScore, candidateOf, Failure, PluginError, TimeoutError } from '../src/index.js';
import { sentence } from '../src/errors.js';
import { paramsOf, paramsSchema, requireWhole } from '../src/params.js';
import { Script, task } from '../src/testing.js';

/** Runs a function in a strategy, and gives back what it returns. */
async function run(body, script, agents = ['a', 'b', 'c']) {
  let returned;
  const plugin = {
    async deliberate(ctx, task) {
      returned = await body(ctx, task);
      return byScore([{ agent: 'a', content: 'x' }], [{ value: 1 }], 'done');
    },
  };
  await script.deliberate(plugin, task('?', agents));
  return returned;
}

test('generations run at the same time, however deep the promises are nested', async () => {
  const script = new Script((request) => request.agent, { latencyMs: () => 10 });
  const deep = async (n) => (n === 0 ? 0 : await deep(n - 1));
  const texts = await run(async (ctx, task) => {
    const answers = task.agents.map(async (agent, n) => {
      await deep(n * 100);
      const { text } = await ctx.generate({ agent, prompt: '?' });
      await deep(100);
      return text;
    });
    return await Promise.all(answers);
  }, script);
  assert.deepEqual(texts, ['a', 'b', 'c']);
  assert.equal(script.nowMs, 10);
});

test('all keeps the limit on open generations', async () => {
  const script = new Script((request) => request.agent, { openGenerations: 2 });
  const texts = await run(
    async (ctx, task) =>
      await ctx.all(task.agents.map((agent) => async () => (await ctx.generate({ agent, prompt: '?' })).text)),
    script,
    ['a', 'b', 'c', 'd', 'e'],
  );
  assert.deepEqual(texts, ['a', 'b', 'c', 'd', 'e']);
  assert.equal(script.nowMs, 3);
});

test('all begins no more when one has failed', async () => {
  const answer = () => {
    throw new Failure('unavailable', 'down');
  };
  const script = new Script(answer, { openGenerations: 1 });
  await run(async (ctx, task) => {
    const ask = (agent) => () => ctx.generate({ agent, prompt: '?' });
    await assert.rejects(ctx.all(task.agents.map(ask)), { kind: 'unavailable' });
  }, script);
  assert.equal(script.requests.length, 1);
});

test('asCompleted yields in the order of arrival and cancels what is left', async () => {
  const latency = { a: 30, b: 10, c: 20 };
  const script = new Script((request) => request.agent, { latencyMs: ({ agent }) => latency[agent] });
  const texts = await run(async (ctx, task) => {
    const seen = [];
    const jobs = task.agents.map((agent) => ctx.submit({ agent, prompt: '?' }));
    for await (const { index, value } of ctx.asCompleted(jobs)) {
      seen.push([index, value.text]);
      if (seen.length === 2) break;
    }
    return seen;
  }, script);
  assert.deepEqual(texts, [[1, 'b'], [2, 'c']]);
  assert.deepEqual(script.cancelled, [1]);
});

test('a time limit cancels the generation in the model server', async () => {
  const script = new Script(() => 'late', { latencyMs: () => 5_000 });
  const elapsed = await run(async (ctx, task) => {
    const job = ctx.submit({ agent: task.agents[0], prompt: '?' });
    await assert.rejects(ctx.within(2_000, job), TimeoutError);
    return ctx.elapsedMs();
  }, script);
  assert.equal(elapsed, 2_000);
  assert.deepEqual(script.cancelled, [1]);
});

test('a time limit that is kept leaves no timer behind', async () => {
  const script = new Script(() => 'x');
  await run(async (ctx) => {
    await ctx.within(60_000, ctx.submit({ prompt: '?' }));
  }, script);
  assert.equal(script.nowMs, 1);
});

test('sleeps and generations interleave', async () => {
  const script = new Script(() => 'x', { latencyMs: () => 50 });
  const order = [];
  await run(async (ctx) => {
    const tick = async (ms) => {
      await ctx.sleep(ms);
      order.push(ms);
    };
    const ask = async () => {
      await ctx.generate({ prompt: '?' });
      order.push('answer');
    };
    await Promise.all([tick(100), ask(), tick(10)]);
  }, script);
  assert.deepEqual(order, [10, 'answer', 100]);
  assert.equal(script.nowMs, 100);
});

test('a cancelled job tells whoever awaits it', async () => {
  const script = new Script(() => 'x');
  await run(async (ctx) => {
    const job = ctx.submit({ prompt: '?' });
    job.cancel();
    job.cancel();
    await assert.rejects(async () => await job, { kind: 'cancelled' });
  }, script);
  assert.deepEqual(script.cancelled, [1]);
});

test('waiting for nothing is a deadlock and not a hang', async () => {
  const stuck = run(() => new Promise(() => {}), new Script(() => 'x'));
  await assert.rejects(stuck, /deadlock/);
});

test('a request is what the contract has', async () => {
  const script = new Script(() => 'x');
  await run(async (ctx, task) => {
    await ctx.generate({
      agent: task.agents[1],
      system: 'Be brief.',
      messages: [{ role: 'assistant', content: 'Yes?' }],
      prompt: 'Go on.',
      phase: 'revise',
      round: 1,
      maxTokens: 9,
      jsonSchema: { type: 'string' },
      deadlineMs: 0.5,
    });
  }, script);
  const [request] = script.requests;
  assert.deepEqual(
    request.messages.map(({ role }) => role),
    ['system', 'assistant', 'user'],
  );
  assert.equal(request.agent, 'b');
  assert.equal(request.deadlineMs, 1);
  assert.equal(request.sampling.jsonSchema, '{"type":"string"}');
  assert.equal(request.sampling.maxTokens, 9);
});

test('params have the defaults of their schema, nested ones too', () => {
  const plugin = {
    params: {
      type: 'object',
      properties: {
        rounds: { type: 'integer', default: 2 },
        stop: {
          type: 'object',
          default: {},
          properties: { rule: { type: 'string', default: 'none' } },
        },
        model: { type: 'string' },
      },
    },
  };
  assert.deepEqual(paramsOf(plugin, { params: '{"rounds": 3}' }), { rounds: 3, stop: { rule: 'none' } });
  assert.equal(JSON.parse(paramsSchema(plugin)).properties.rounds.default, 2);
  assert.equal(JSON.parse(paramsSchema({})).additionalProperties, false);
});

test('sentences stand, and mistakes are told with their type', () => {
  assert.equal(sentence(new PluginError('nobody answered')), 'nobody answered');
  assert.equal(sentence(new Failure('rejected', 'too long')), 'rejected: too long');
  assert.equal(sentence('a text'), 'a text');
  assert.equal(sentence(new TypeError('x is undefined')), 'TypeError: x is undefined');
  assert.equal(sentence(new AggregateError([new PluginError('all failed')])), 'all failed');
});

test('what is no outcome is said so, and what a function throws at once too', async () => {
  const script = new Script(() => 'x');
  const nothing = { async deliberate() {} };
  await assert.rejects(script.deliberate(nothing, task('?', ['a'])), /returned no outcome/);
  const throwing = {
    deliberate() {
      throw new PluginError('at once');
    },
  };
  await assert.rejects(script.deliberate(throwing, task('?', ['a'])), /at once/);
});

test('equal scores keep the order of the candidates', () => {
  const candidates = ['x', 'y', 'z'].map((content) => ({ agent: 'a', content }));
  const outcome = byScore(candidates, [{ value: 0.5 }, { value: 0.5 }, { value: 0.9 }], 'by score');
  assert.deepEqual(
    outcome.ranked.map(({ candidate }) => candidate.content),
    ['z', 'x', 'y'],
  );
  assert.throws(() => byScore(candidates, [], 'no scores'), TypeError);
  assert.deepEqual(candidateOf({ id: 'a' }, { text: 'x', job: 4 }).jobs, [4]);
});

test('what a plugin lacks is told', () => {
  const plugin = { name: 'x', version: '0.1.0', summary: 'X.', deliberate() {} };
  requireWhole(plugin, 'deliberate');
  assert.throws(() => requireWhole(plugin, 'evaluate'), /no function `evaluate`/);
  assert.throws(() => requireWhole({ ...plugin, summary: undefined }, 'deliberate'), /no text `summary`/);
});

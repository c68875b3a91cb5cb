/** Candidates, and outcomes made of them. */

/** What one generation says, as the answer of an agent. */
export function candidateOf(agent, generation) {
  const { text, reasoning, job } = generation;
  return { agent: agent.id, content: text, reasoning, jobs: [job] };
}

/**
 * An outcome with the candidates ranked by their scores. Equal scores keep the order of the candidates.
 */
export function byScore(candidates, scores, reasoning, more = {}) {
  if (candidates.length !== scores.length) {
    throw new TypeError(`${candidates.length} candidates have ${scores.length} scores`);
  }
  const ranked = candidates.map((candidate, i) => ({ candidate, score: scores[i] }));
  ranked.sort((a, b) => b.score.value - a.score.value);
  return { ranked, reasoning, ...more };
}

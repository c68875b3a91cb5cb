//! Seeds for samples that shall differ.

use crate::context::Session;
use crate::types::{Agent, GenerationRequest};

/// Seeds are non-negative numbers of 32 bits with a sign: all model servers take those.
const MASK: u32 = 0x7fff_ffff;

/// The seeds of a wave in which agents are asked, perhaps several times each.
///
/// The first seed of a prompt is drawn; those of its other samples follow one another, so that the host
/// may ask an engine for all of them in one request.
#[derive(Debug)]
pub struct Seeds {
    /// For each agent, the first one with the same model and prompt.
    same_as: Vec<usize>,
    next: Vec<Option<u32>>,
}

impl Seeds {
    /// For agents and what each is asked, in their order.
    #[must_use]
    pub fn of(agents: &[Agent], requests: &[GenerationRequest]) -> Self {
        let all: Vec<_> = agents.iter().zip(requests).collect();
        let same = |(agent, request): (&Agent, &GenerationRequest)| {
            let mut all = all.iter();
            all.position(|(other, asked)| {
                other.model == agent.model && asked.messages == request.messages
            })
        };
        let same_as = all.iter().filter_map(|one| same(*one)).collect();
        Self {
            same_as,
            next: vec![None; all.len()],
        }
    }

    /// The seed of the next sample of the agent at this place.
    pub fn next(&mut self, ctx: &Session, agent: usize) -> u32 {
        let next = &mut self.next[self.same_as[agent]];
        let seed = next.unwrap_or_else(|| ctx.random());
        *next = Some(seed.wrapping_add(1) & MASK);
        seed
    }
}

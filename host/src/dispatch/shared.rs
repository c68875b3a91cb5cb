//! Answers to one request that go to several generations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use conclave_core::cluster::Placement;
use conclave_core::generation::Generation;
use conclave_core::inference::Request;

use super::member::Mailbox;
use crate::errand::Answers;

/// What asking for several answers at once has saved since the start, and what it has cost.
#[derive(Debug, Default)]
pub struct Savings {
    /// Requests that were not made.
    pub requests: AtomicU64,
    /// Tokens of prompts that the engine did not have to work on again.
    pub prompt_tokens: AtomicU64,
    /// Tokens of answers that nobody waited for any more, while others of the same request were waited for:
    /// an engine ends all answers to a request, or none.
    pub tokens_unread: AtomicU64,
}

/// One of several generations that share a request.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) request: Request,
    pub(super) mailbox: Arc<Mailbox>,
}

/// Answers that go to several mailboxes.
pub(super) struct Shared<'a> {
    members: &'a [Member],
    savings: &'a Savings,
    /// Whether one was finished, for whom the prompt was worked on.
    paid: AtomicBool,
}

impl<'a> Shared<'a> {
    pub(super) fn new(members: &'a [Member], savings: &'a Savings) -> Self {
        Self {
            members,
            savings,
            paid: AtomicBool::new(false),
        }
    }
}

impl Answers for Shared<'_> {
    fn placed(&self, placement: &Placement) {
        for member in self.members {
            member.mailbox.placed(placement);
        }
    }

    fn tokens(&self, choice: usize, count: u32, text: &str) {
        let Some(member) = self.members.get(choice) else {
            return;
        };
        if !member.mailbox.tokens(count, text) {
            self.savings.unread(count);
        }
    }

    fn finished(&self, choice: usize, generation: Generation) {
        let Some(member) = self.members.get(choice) else {
            return;
        };
        let Savings {
            requests,
            prompt_tokens,
            ..
        } = self.savings;
        if self.paid.swap(true, Ordering::Relaxed) {
            let saved = u64::from(generation.usage.prompt_tokens);
            prompt_tokens.fetch_add(saved, Ordering::Relaxed);
        } else {
            // Not before: a server that gives no several answers saves nothing.
            let saved = self.members.len() - 1;
            requests.fetch_add(saved as u64, Ordering::Relaxed);
        }
        member.mailbox.end(Ok(generation));
    }
}

impl Savings {
    /// So many tokens came of an answer that nobody waits for any more.
    pub(super) fn unread(&self, tokens: u32) {
        self.tokens_unread
            .fetch_add(tokens.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::endpoint::Endpoint;
    use conclave_core::ids::ModelName;
    use conclave_core::testkit::inference::contract;

    use super::*;

    #[test]
    fn what_comes_of_an_answer_that_was_given_up_is_counted_as_unread() {
        let endpoint = Endpoint::parse("http://vllm:8000").unwrap();
        let members = [1, 2].map(|attempt| Member {
            request: contract::request(&endpoint, &ModelName::new("tiny"), attempt),
            mailbox: Mailbox::new(),
        });
        let savings = Savings::default();
        let unread = || savings.tokens_unread.load(Ordering::Relaxed);
        let shared = Shared::new(&members, &savings);
        shared.tokens(0, 3, "It is ");
        shared.tokens(1, 2, "No");
        assert_eq!(members[1].mailbox.leave(), 2, "it was not read");
        shared.tokens(1, 4, ", it is not");
        shared.tokens(0, 1, "so");
        assert_eq!(unread(), 4);
        assert_eq!(members[0].mailbox.leave(), 4);
    }
}

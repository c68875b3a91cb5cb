//! Counting answers, and how sure a majority is.

/// The answers that were given, in the order in which each was first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    answers: Vec<Answer>,
}

/// One distinct answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// How many votes it has.
    pub votes: u32,
}

impl Tally {
    /// No answers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts votes for an answer, and returns its place in [`Tally::answers`].
    pub fn add(&mut self, text: &str, votes: u32) -> usize {
        let place = self.place(text).unwrap_or_else(|| {
            self.answers.push(Answer {
                text: text.to_owned(),
                votes: 0,
            });
            self.answers.len() - 1
        });
        self.answers[place].votes += votes;
        place
    }

    /// The answers, each once, in the order in which they were first seen.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The votes of an answer, and the votes of the strongest other one.
    #[must_use]
    pub fn against_strongest_other(&self, text: &str) -> (u32, u32) {
        let place = self.place(text);
        let votes = place.map_or(0, |place| self.answers[place].votes);
        let others = self.answers.iter().enumerate();
        let strongest = others.filter(|(other, _)| Some(*other) != place);
        let strongest = strongest.map(|(_, answer)| answer.votes).max();
        (votes, strongest.unwrap_or(0))
    }

    /// The votes of the two strongest answers, the stronger first; 0 for one that is not there.
    #[must_use]
    pub fn top_two(&self) -> (u32, u32) {
        self.answers.iter().fold((0, 0), |(first, second), answer| {
            if answer.votes > first {
                (answer.votes, first)
            } else {
                (first, second.max(answer.votes))
            }
        })
    }

    /// All votes.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.answers.iter().map(|answer| answer.votes).sum()
    }

    fn place(&self, text: &str) -> Option<usize> {
        self.answers.iter().position(|answer| answer.text == text)
    }
}

/// How probable it is that an answer with `votes` is truly more frequent than its strongest rival
/// with `rival` votes: P(theta > 1/2) for theta of the distribution Beta(votes + 1, rival + 1),
/// which is the posterior of a uniform prior. This is the stop rule of adaptive consistency
/// (arXiv 2305.11860).
///
/// For whole numbers it is a binomial sum, computed here without approximation: with
/// n = votes + rival + 1, it is the sum over k from 0 to `votes` of C(n, k) / 2^n.
#[must_use]
pub fn majority_posterior(votes: u32, rival: u32) -> f64 {
    let n = f64::from(votes) + f64::from(rival) + 1.0;
    // Each term as a multiple of C(n, votes), so that no power of two is needed.
    let mut low = 0.0;
    let mut term = 1.0;
    for k in (0..=votes).rev() {
        low += term;
        term *= f64::from(k) / (n - f64::from(k) + 1.0);
    }
    let mut high = 0.0;
    let mut term = 1.0;
    for k in votes..=votes + rival {
        term *= (n - f64::from(k)) / (f64::from(k) + 1.0);
        high += term;
    }
    // The larger part overflows when more than a thousand votes lie between the two.
    if low.is_infinite() {
        1.0
    } else {
        low / (low + high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_posterior_has_the_values_of_its_closed_forms() {
        assert_eq!(majority_posterior(0, 0), 0.5);
        assert_eq!(majority_posterior(1, 0), 0.75);
        assert_eq!(majority_posterior(3, 0), 0.9375);
        assert_eq!(majority_posterior(4, 0), 0.96875);
        assert_eq!(majority_posterior(0, 4), 0.03125);
        assert!((majority_posterior(7, 7) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn the_posteriors_of_two_rivals_add_up_to_one() {
        for a in 0..40 {
            for b in 0..40 {
                let sum = majority_posterior(a, b) + majority_posterior(b, a);
                assert!((sum - 1.0).abs() < 1e-12, "{a} {b}: {sum}");
            }
        }
    }

    #[test]
    fn thousands_of_votes_do_not_overflow() {
        assert_eq!(majority_posterior(5_000, 0), 1.0);
        assert_eq!(majority_posterior(0, 5_000), 0.0);
        assert!((majority_posterior(5_000, 5_000) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_two_strongest_are_found_in_any_order() {
        let mut tally = Tally::new();
        for text in ["a", "b", "c", "b", "c", "b"] {
            tally.add(text, 1);
        }
        assert_eq!(tally.top_two(), (3, 2));
        assert_eq!(tally.against_strongest_other("a"), (1, 3));
        assert_eq!(tally.against_strongest_other("b"), (3, 2));
        assert_eq!(tally.against_strongest_other("z"), (0, 3));
        assert_eq!(tally.total(), 6);
    }
}

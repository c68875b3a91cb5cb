//! Tells whoever waits for answers how they come along, as one who calls the model server itself would.

use conclave_core::cluster::Placement;
use conclave_core::generation::Generation;

use super::wire::{Place, Progress};
use crate::errand::Answers;

/// Passes on the progress of one piece of work.
///
/// What was told cannot be taken back: of work that is begun again, or whose beginning was missed, tokens
/// are counted and the text is told at the end, if at all.
pub(super) struct Telling<'a> {
    answers: &'a dyn Answers,
    cluster: &'a str,
    /// The text that was told of each answer.
    told: Vec<String>,
    counted: bool,
    begun: bool,
    /// Whether the text that comes does not continue what was told.
    astray: bool,
}

impl<'a> Telling<'a> {
    /// Of work that was queued now.
    pub(super) fn new(answers: &'a dyn Answers, cluster: &'a str, choices: usize) -> Self {
        Self {
            answers,
            cluster,
            told: vec![String::new(); choices],
            counted: false,
            begun: false,
            astray: false,
        }
    }

    /// The work was queued by a host that ended since, and may be under way.
    pub(super) fn join(&mut self) {
        self.astray = true;
    }

    /// Takes a message of the executor's; whether it says that the work was started. One that cannot be read
    /// costs a watcher a piece.
    pub(super) fn take(&mut self, message: &[u8]) -> bool {
        let Ok(progress) = serde_json::from_slice::<Progress<'_>>(message) else {
            tracing::debug!("a message about progress cannot be read");
            return false;
        };
        for piece in &progress.choices {
            let Some(told) = self.told.get_mut(piece.index) else {
                continue;
            };
            let text = if self.astray { "" } else { &*piece.text };
            told.push_str(text);
            self.counted = true;
            self.answers.tokens(piece.index, piece.tokens, text);
        }
        let Some(place) = progress.started else {
            return false;
        };
        self.astray |= self.begun;
        self.begun = true;
        self.placed(&placement(self.cluster, place));
        true
    }

    /// The work runs there.
    pub(super) fn placed(&self, placement: &Placement) {
        self.answers.placed(placement);
    }

    /// The answers at their end: tells what was not told yet.
    pub(super) fn rest(&self) -> Rest<'_> {
        Rest(self)
    }
}

/// Where executors say that work runs.
pub(super) fn placement(cluster: &str, place: Place) -> Placement {
    Placement {
        cluster: cluster.to_owned(),
        submission_id: place.submission_id,
        actor: Some(place.actor),
        node: Some(place.node),
    }
}

/// Whole answers, of which a part was told.
pub(super) struct Rest<'a>(&'a Telling<'a>);

impl Answers for Rest<'_> {
    fn placed(&self, placement: &Placement) {
        self.0.placed(placement);
    }

    fn tokens(&self, choice: usize, count: u32, text: &str) {
        let told = self.0.told.get(choice).map_or("", String::as_str);
        let count = if self.0.counted { 0 } else { count };
        match text.strip_prefix(told) {
            Some("") | None => (),
            Some(rest) => self.0.answers.tokens(choice, count, rest),
        }
    }

    fn finished(&self, choice: usize, generation: Generation) {
        self.0.answers.finished(choice, generation);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(usize, u32, String)>>, Mutex<Vec<Placement>>);

    impl Answers for Heard {
        fn placed(&self, placement: &Placement) {
            self.1.lock().unwrap().push(placement.clone());
        }
        fn tokens(&self, choice: usize, count: u32, text: &str) {
            let mut heard = self.0.lock().unwrap();
            heard.push((choice, count, text.to_owned()));
        }
        fn finished(&self, _: usize, _: Generation) {}
    }

    const STARTED: &[u8] = br#"{"v":1,"started":{"submission_id":"s","actor":"a","node":"n"}}"#;

    fn piece(index: usize, text: &str) -> Vec<u8> {
        format!(r#"{{"v":1,"choices":[{{"index":{index},"tokens":2,"text":"{text}"}}]}}"#).into()
    }

    fn heard(telling: impl FnOnce(&mut Telling<'_>)) -> Vec<(usize, u32, String)> {
        let heard = Heard::default();
        telling(&mut Telling::new(&heard, "east", 2));
        heard.0.into_inner().unwrap()
    }

    fn told(choice: usize, count: u32, text: &str) -> (usize, u32, String) {
        (choice, count, text.to_owned())
    }

    #[test]
    fn text_is_told_as_it_comes_and_its_rest_at_the_end() {
        let heard = heard(|telling| {
            assert!(telling.take(STARTED));
            assert!(!telling.take(&piece(0, "It ")));
            assert!(!telling.take(&piece(7, "of nobody")));
            assert!(!telling.take(b"{"));
            telling.rest().tokens(0, 1, "It is");
            telling.rest().tokens(1, 1, "");
        });
        assert_eq!(heard, [told(0, 2, "It "), told(0, 0, "is")]);
    }

    #[test]
    fn where_a_piece_was_lost_nothing_wrong_is_told() {
        let heard = heard(|telling| {
            telling.take(&piece(0, "It "));
            telling.take(&piece(0, "so"));
            telling.rest().tokens(0, 1, "It is so");
        });
        assert_eq!(heard, [told(0, 2, "It "), told(0, 2, "so")]);
    }

    #[test]
    fn of_work_that_is_begun_again_only_tokens_are_counted() {
        let heard = heard(|telling| {
            telling.take(STARTED);
            telling.take(&piece(0, "It "));
            telling.take(STARTED);
            telling.take(&piece(0, "No"));
            telling.rest().tokens(0, 1, "No.");
        });
        assert_eq!(heard, [told(0, 2, "It "), told(0, 2, "")]);
    }

    #[test]
    fn work_that_was_found_again_is_told_at_its_end() {
        let heard = heard(|telling| {
            telling.join();
            telling.take(&piece(0, "is"));
            telling.rest().tokens(0, 1, "It is");
        });
        assert_eq!(heard, [told(0, 2, ""), told(0, 0, "It is")]);
    }

    #[test]
    fn it_is_told_where_it_runs() {
        let heard = Heard::default();
        Telling::new(&heard, "east", 1).take(STARTED);
        let placements = heard.1.into_inner().unwrap();
        assert_eq!(placements[0].cluster, "east");
        assert_eq!(placements[0].actor.as_deref(), Some("a"));
    }
}

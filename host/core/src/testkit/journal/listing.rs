//! What every listing promises, as checks that an adapter's tests call.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::samples::{accepted, finished, records, verdicts};
use crate::entry::{Accepted, Entry, Record};
use crate::filter::{
    Comparison, Expression, Facts, Filter, NumberField, StateKind, Test, TextField,
};
use crate::ids::{DeliberationId, Seq, Tenant};
use crate::journal::Journal;
use crate::listing::{Listing, Place, Query};
use crate::priority::Priority;

/// Runs every check, each on a journal of its own, which `open` must give empty.
///
/// # Panics
/// When the listing breaks its contract; the place of the panic is in the check.
pub async fn listing_contract<J: Journal + Listing>(open: impl AsyncFn() -> Arc<J>) {
    pages_are_newest_first_and_do_not_shift(&*open().await).await;
    each_tenant_sees_its_own(&*open().await).await;
    a_finished_one_shows_its_last_record(&*open().await).await;
    filters_mean_what_the_core_says(&*open().await).await;
}

async fn create(journal: &impl Journal, change: impl FnOnce(&mut Accepted)) -> DeliberationId {
    let id = DeliberationId::generate();
    let mut first = accepted(&id);
    if let Entry::Accepted(accepted) = &mut first.entry {
        accepted.tenant = Tenant::default();
        change(accepted);
    }
    let created = journal.create(&id, &first, None).await;
    created.expect("the journal takes a new deliberation");
    id
}

async fn end(journal: &impl Journal, id: &DeliberationId, at_ms: u64, verdict: usize) {
    let last = finished(Seq(2), at_ms, verdicts()[verdict].clone());
    let appended = journal.append(id, Seq(1), &[last]).await;
    appended.expect("the journal takes the end");
}

/// The ids of all pages of `limit`.
async fn all(listing: &impl Listing, query: &Query, limit: usize) -> Vec<DeliberationId> {
    let mut ids = Vec::new();
    let mut query = query.clone();
    loop {
        let page = listing.page(&query, limit).await.expect("it lists");
        assert!(page.listed.len() <= limit);
        ids.extend(page.listed.into_iter().map(|one| one.accepted.id));
        match page.next {
            Some(next) => {
                assert!(
                    query.before.is_none_or(|before| next < before),
                    "it goes on"
                );
                query.before = Some(next);
            }
            None => return ids,
        }
    }
}

/// Whoever goes from page to page sees each deliberation once, whatever arrives meanwhile.
async fn pages_are_newest_first_and_do_not_shift(journal: &(impl Journal + Listing)) {
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(create(journal, |_| ()).await);
    }
    ids.reverse();
    let query = Query::default();
    for limit in [1, 3, 10, 11, 1_000] {
        assert_eq!(all(journal, &query, limit).await, ids, "pages of {limit}");
    }
    let first = journal.page(&query, 4).await.expect("it lists");
    create(journal, |_| ()).await;
    end(journal, &ids[5], 1, 0).await;
    let query = Query {
        before: first.next,
        ..query
    };
    assert_eq!(all(journal, &query, 4).await, ids[4..]);
    let beyond = Query {
        before: Some(Place(1)),
        ..query
    };
    assert_eq!(all(journal, &beyond, 4).await, []);
}

/// A tenant never sees what is another's.
async fn each_tenant_sees_its_own(journal: &(impl Journal + Listing)) {
    let own = create(journal, |_| ()).await;
    let other = create(journal, |accepted| accepted.tenant = Tenant::new("other")).await;
    let query = Query::default();
    assert_eq!(all(journal, &query, 9).await, [own]);
    let query = Query {
        tenant: Tenant::new("other"),
        ..query
    };
    assert_eq!(all(journal, &query, 9).await, [other]);
    let query = Query {
        tenant: Tenant::new("nobody"),
        ..query
    };
    assert_eq!(all(journal, &query, 9).await, []);
}

/// What is listed is what was accepted, and the end once there is one.
async fn a_finished_one_shows_its_last_record(journal: &(impl Journal + Listing)) {
    let id = create(journal, |_| ()).await;
    let batch = records(Seq(1), 3);
    let appended = journal.append(&id, Seq(1), &batch).await;
    appended.expect("the journal takes records");
    let page = journal.page(&Query::default(), 1).await.expect("it lists");
    assert_eq!(
        (&page.listed[0].accepted.id, &page.listed[0].end),
        (&id, &None)
    );
    let mut batch = records(Seq(4), 2);
    batch.push(finished(Seq(7), 9, verdicts()[1].clone()));
    let appended = journal.append(&id, Seq(4), &batch).await;
    appended.expect("the journal takes the end");
    let page = journal.page(&Query::default(), 1).await.expect("it lists");
    let whole = journal.read(&id, Seq::START).await.expect("it reads");
    assert_eq!(page.listed[0].end.as_deref(), whole.last());
    let [
        Record {
            entry: Entry::Accepted(accepted),
            ..
        },
        ..,
    ] = &whole[..]
    else {
        unreachable!("the first record is the acceptance");
    };
    assert_eq!(&page.listed[0].accepted, accepted);
}

/// On generated deliberations, generated filters let the same through as [`Filter::matches`].
async fn filters_mean_what_the_core_says(journal: &(impl Journal + Listing)) {
    let mut generator = Generator(ChaCha8Rng::seed_from_u64(7));
    let mut known = Vec::new();
    for _ in 0..60 {
        let accepted = generator.accepted();
        let id = create(journal, |first| {
            accepted.request.clone_into(&mut first.request);
            first.accepted_at_ms = accepted.accepted_at_ms;
            first.strategy.name.clone_from(&accepted.strategy.name);
        })
        .await;
        let mut end_at_ms = None;
        let mut state = StateKind::Running;
        let verdict = generator.below(4);
        if verdict < 3 {
            let at_ms = generator.below(3) as u64;
            end(journal, &id, at_ms, verdict).await;
            end_at_ms = Some(at_ms);
            state = [
                StateKind::Completed,
                StateKind::Failed,
                StateKind::Cancelled,
            ][verdict];
        }
        known.push((id, accepted, state, end_at_ms));
    }
    known.reverse();
    let mut some = 0;
    for _ in 0..600 {
        let filter = Filter::from(generator.expression(3));
        let expected: Vec<_> = known
            .iter()
            .filter(|(_, accepted, state, end_at_ms)| {
                filter.matches(&Facts {
                    accepted,
                    state: *state,
                    end_at_ms: *end_at_ms,
                })
            })
            .map(|(id, ..)| id.clone())
            .collect();
        some += usize::from(!expected.is_empty() && expected.len() < known.len());
        let query = Query {
            filter: filter.clone(),
            ..Query::default()
        };
        assert_eq!(all(journal, &query, 7).await, expected, "{filter:?}");
    }
    assert!(some > 100, "{some} filters told deliberations apart");
}

/// Draws from few values, so that filters often hit.
struct Generator(ChaCha8Rng);

/// What is easily confused: case, order of bytes, quotes, the wildcards of SQL, nothing.
const TEXTS: [&str; 12] = [
    "",
    "a",
    "A",
    "ab",
    "b",
    "é",
    "a'b",
    "a\"b",
    "%",
    "a_b",
    "a\0b",
    "\u{1f980}",
];
const KEYS: [&str; 5] = ["team", "app.io/name", "a'b", "a\"b", "$.x"];
const TIMES: [u64; 3] = [1_763_766_000_122, 1_763_766_000_123, 1_763_766_000_124];

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0.next_u32() as usize % bound
    }

    fn one<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn text(&mut self) -> String {
        self.one(&TEXTS).to_owned()
    }

    fn accepted(&mut self) -> Accepted {
        let Entry::Accepted(accepted) = accepted(&DeliberationId::new("deliberation-0")).entry
        else {
            unreachable!("it is the first record");
        };
        let mut accepted = *accepted;
        accepted.accepted_at_ms = self.one(&TIMES);
        accepted.strategy.name = self.text();
        let request = &mut accepted.request;
        request.task.id = self.text();
        request.task.role = self.text();
        request.correlation_id = Some(self.text()).filter(|text| !text.is_empty());
        request.priority = Priority::new(self.below(10) as u32).unwrap_or_default();
        let labels = (0..self.below(3)).map(|_| (self.one(&KEYS).to_owned(), self.text()));
        request.labels = labels.collect();
        accepted
    }

    fn expression(&mut self, depth: usize) -> Expression {
        match self.below(if depth == 0 { 3 } else { 6 }) {
            3 => Expression::Not(Box::new(self.expression(depth - 1))),
            4 => Expression::And(
                (0..self.below(4))
                    .map(|_| self.expression(depth - 1))
                    .collect(),
            ),
            5 => Expression::Or(
                (0..self.below(4))
                    .map(|_| self.expression(depth - 1))
                    .collect(),
            ),
            _ => Expression::Test(self.test()),
        }
    }

    fn test(&mut self) -> Test {
        match self.below(6) {
            0 => Test::State {
                is: self.below(2) == 0,
                state: self.one(&StateKind::ALL),
            },
            1 => Test::Text {
                field: self.text_field(),
                comparison: self.comparison(),
                value: self.text(),
            },
            2 => Test::Contains {
                field: self.text_field(),
                text: self.text(),
            },
            3 => Test::HasText(self.text_field()),
            4 => Test::HasNumber(self.number_field().0),
            _ => {
                let (field, value) = self.number_field();
                Test::Number {
                    field,
                    comparison: self.comparison(),
                    value,
                }
            }
        }
    }

    fn comparison(&mut self) -> Comparison {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        self.one(&[Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
    }

    fn text_field(&mut self) -> TextField {
        let key = self.one(&KEYS).to_owned();
        self.one(&[
            TextField::TaskId,
            TextField::TaskRole,
            TextField::StrategyName,
            TextField::ScorerName,
            TextField::CorrelationId,
            TextField::Label(key.clone()),
            TextField::Label(key),
        ])
    }

    fn number_field(&mut self) -> (NumberField, i64) {
        let time = self.one(&TIMES).cast_signed();
        let priority = (NumberField::Priority, self.below(10) as i64);
        self.one(&[
            priority,
            (NumberField::CreateTime, time),
            (NumberField::EndTime, time + 1),
        ])
    }
}

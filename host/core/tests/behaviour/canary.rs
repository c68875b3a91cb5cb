//! A canary whose deliberations trap, from the sessions to the verdict.

use std::sync::Arc;

use conclave_core::canary::{ErrorRate, Test, Trial, Watch};
use conclave_core::channel::{Arm, Draw, PluginName, Share};
use conclave_core::clock::Clock;
use conclave_core::entry::{Entry, Record};
use conclave_core::ids::DeliberationId;
use conclave_core::journal::Journal as _;
use conclave_core::observer::Observers;
use conclave_core::plugin::Kind;
use conclave_core::runtime::Error;
use conclave_core::session::Guest;
use conclave_core::testkit::host::{Host, terms};
use conclave_core::testkit::inference::ScriptedInference;
use conclave_core::testkit::journal::{MemoryJournal, accepted};
use conclave_core::testkit::runtime::ScriptedRuntime;

use crate::support::{SECOND, answer, candidate};

const CANARY: u64 = 3;

/// A deliberation whose scorer was drawn.
fn drawn(number: u64, arm: Arm) -> (DeliberationId, Record) {
    let id = DeliberationId::new(&format!("deliberation-{number}"));
    let mut record = accepted(&id);
    let Entry::Accepted(accepted) = &mut record.entry else {
        unreachable!("the first record is the acceptance");
    };
    accepted.accepted_at_ms = Clock::system().unix_ms() + number;
    accepted.request.timeout = 60 * SECOND;
    accepted.scorer_draw = Some(Draw {
        share: Share::try_from(1000).expect("a tenth"),
        arm,
        canary: CANARY,
    });
    (id, record)
}

/// The deliberations of a host that died go on, so its own record of them is all that the watch sees.
#[tokio::test(start_paused = true)]
async fn a_canary_that_traps_in_resumed_deliberations_is_found_worse() {
    let journal = MemoryJournal::new();
    for number in 0..8 {
        let arm = match number % 2 {
            0 => Arm::Canary,
            _ => Arm::Stable,
        };
        let (id, record) = drawn(number, arm);
        let created = journal.create(&id, &Arc::new(record), None).await;
        created.expect("the journal takes it");
    }
    // The scorer of every other deliberation traps: the canary.
    let runtime = ScriptedRuntime::new(|_, guest: Guest| async move {
        let canary = guest
            .deliberation()
            .as_str()
            .ends_with(['0', '2', '4', '6']);
        if canary {
            let _never = guest.score(vec![candidate("seven")]).await?;
        }
        Ok(answer("seven"))
    })
    .with_scorer(|_, _, _| async { Err(Error::Trapped("unreachable".to_owned())) });
    let watch = Arc::new(Watch::default());
    let scorer = PluginName::new(Kind::Scorer, "agreement");
    watch.start(Trial::new(scorer.clone(), CANARY, ErrorRate::default()));
    let strategy = PluginName::new(Kind::Strategy, "sample-vote");
    watch.start(Trial::new(strategy, CANARY, ErrorRate::default()));

    let observers = Observers::new(vec![watch.clone()]);
    let inference = Arc::new(ScriptedInference::answering("seven"));
    let host = Host::observed(&journal, inference, Arc::new(runtime), terms(), observers);
    let unfinished = host
        .run
        .unfinished()
        .await
        .expect("the journal is readable");
    host.run.resume(unfinished).await;

    let regression = watch.regression().await;
    assert_eq!((regression.plugin, regression.canary), (scorer, CANARY));
    assert_eq!(
        regression.finding.test,
        Test::Traps,
        "{}",
        regression.finding
    );
    assert_eq!(regression.finding.canary.trapped, 4);
    assert_eq!(regression.finding.stable.trapped, 0);
}

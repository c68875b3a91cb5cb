//! The stop rules of `sample-vote` have the accuracy and the cost that theory gives them, through the
//! compiled component.
//!
//! Two answers, each sample right with probability p. The component decides in every state that
//! sampling can reach whether it stops there and who wins; over these decisions, accuracy and mean
//! samples are summed up exactly.

mod rule;
mod sampling;

use serde_json::json;

use crate::rule::{Decision, decisions, expected};
use crate::sampling::Sampling;

/// The most samples of the published runs.
const SAMPLES_MAX: usize = 40;

/// The value with as many decimals as the table prints.
fn assert_prints(printed: &str, value: f64, what: &str) {
    let decimals = printed
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    assert_eq!(format!("{value:.decimals$}"), printed, "{what}");
}

#[tokio::test]
async fn an_adaptive_stop_has_its_accuracy_and_its_mean_samples() {
    let sampling = Sampling::start().await;
    let one_by_one = json!({"samples": SAMPLES_MAX, "parallel": 1, "stop": {"rule": "beta"}});
    let decisions = decisions(&sampling, &one_by_one).await;
    let table = [
        (0.6, "0.8756", "24.161"),
        (0.7, "0.9851", "15.114"),
        (0.8, "0.9981", "8.718"),
        (0.9, "0.9999", "5.622"),
    ];
    for (p, accuracy, mean) in table {
        let (has_accuracy, has_mean) = expected(&decisions, p);
        assert_prints(accuracy, has_accuracy, &format!("accuracy at {p}"));
        assert_prints(mean, has_mean, &format!("mean samples at {p}"));
    }
    assert_eq!(decisions[&(4, 0)], Decision::Stops { right_wins: true });
    assert_eq!(decisions[&(3, 0)], Decision::GoesOn);

    // A tie goes to the answer that was seen first.
    let alternating = |first: bool| (0..SAMPLES_MAX).map(move |place| (place % 2 == 0) == first);
    for first in [true, false] {
        let run = sampling
            .run(&one_by_one, &alternating(first).collect::<Vec<_>>())
            .await;
        assert_eq!((run.samples, run.right_wins), (SAMPLES_MAX, first));
    }

    // Running several samples at once, as by default, costs none that the rule would have saved.
    let by_default = json!({"samples": SAMPLES_MAX, "stop": {"rule": "beta"}});
    for seed in 1..=12_usize {
        let right: Vec<_> = (0..SAMPLES_MAX)
            .map(|place| (place * place + seed) % (seed + 2) != 0)
            .collect();
        let one_by_one = sampling.run(&one_by_one, &right).await;
        assert_eq!(
            sampling.run(&by_default, &right).await.samples,
            one_by_one.samples,
            "{right:?}"
        );
    }
}

#[tokio::test]
async fn a_plurality_vote_has_its_accuracy() {
    let sampling = Sampling::start().await;
    let table = [
        (5, ["0.6826", "0.8369", "0.9421", "0.9914"]),
        (9, ["0.7334", "0.9012", "0.9804", "0.9991"]),
        (39, ["0.8979", "0.9957", "1.000", "1.000"]),
    ];
    for (samples, accuracies) in table {
        let params = json!({"samples": samples, "stop": {"rule": "none"}});
        let mut wins = Vec::new();
        for right in 0..=samples {
            let plan: Vec<_> = (0..samples).map(|place| place < right).collect();
            let run = sampling.run(&params, &plan).await;
            assert_eq!(run.samples, samples);
            wins.push(run.right_wins);
        }
        for (p, accuracy) in [0.6, 0.7, 0.8, 0.9].into_iter().zip(accuracies) {
            let won = wins.iter().enumerate().filter(|(_, wins)| **wins);
            let has_accuracy: f64 = won.map(|(right, _)| binomial(samples, right, p)).sum();
            assert_prints(accuracy, has_accuracy, &format!("vote of {samples} at {p}"));
        }
    }
}

/// The probability of `right` right samples among `samples`.
fn binomial(samples: usize, right: usize, p: f64) -> f64 {
    let ways: f64 = (0..right)
        .map(|place| (samples - place) as f64 / (right - place) as f64)
        .product();
    let exponent = |count: usize| i32::try_from(count).expect("samples are few");
    ways * p.powi(exponent(right)) * (1.0 - p).powi(exponent(samples - right))
}

#[tokio::test]
async fn a_window_stop_has_its_mean_samples() {
    const SIZE: usize = 5;
    const WINDOWS: usize = SAMPLES_MAX / SIZE;
    let sampling = Sampling::start().await;
    let params = json!({"samples": SAMPLES_MAX, "stop": {"rule": "window", "size": SIZE}});
    let window = |bits: usize| (0..SIZE).map(move |place| bits >> place & 1 == 1);
    let mixed: Vec<usize> = (1..(1 << SIZE) - 1).collect();

    // No mixed window stops, wherever it stands.
    for first in 0..mixed.len() {
        let plan = mixed
            .iter()
            .cycle()
            .skip(first)
            .take(WINDOWS)
            .flat_map(|bits| window(*bits));
        let run = sampling.run(&params, &plan.collect::<Vec<_>>()).await;
        assert_eq!(run.samples, SAMPLES_MAX, "from {first}");
    }
    // A unanimous one does, wherever it stands.
    for unanimous in [0, (1 << SIZE) - 1] {
        for place in 1..=WINDOWS {
            let before = mixed.iter().take(place - 1).flat_map(|bits| window(*bits));
            let rest = mixed
                .iter()
                .cycle()
                .take(WINDOWS - place)
                .flat_map(|bits| window(*bits));
            let plan = before.chain(window(unanimous)).chain(rest);
            let run = sampling.run(&params, &plan.collect::<Vec<_>>()).await;
            assert_eq!(run.samples, SIZE * place, "{unanimous} at {place}");
        }
    }

    for (p, mean) in [
        (0.6_f64, "29.626"),
        (0.7, "22.752"),
        (0.8, "14.610"),
        (0.9, "8.461"),
    ] {
        let goes_on = 1.0 - p.powi(5) - (1.0 - p).powi(5);
        let windows: f64 = (0..WINDOWS)
            .map(|before| goes_on.powi(i32::try_from(before).expect("few")))
            .sum();
        assert_prints(mean, SIZE as f64 * windows, &format!("mean samples at {p}"));
    }
}

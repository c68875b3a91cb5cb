//! The rules against exact values: two answers, each sample right with probability p, computed by
//! dynamic programming over the votes. Nothing is drawn.

use std::collections::BTreeMap;

use super::*;

const BETA: Stop = Stop::Beta { confidence: 0.95 };
const PROBABILITIES: [f64; 4] = [0.6, 0.7, 0.8, 0.9];

/// A tally of two answers, and the votes in any order.
fn ballot(right: u32, wrong: u32) -> (Tally, Vec<Vote>) {
    let mut tally = Tally::new();
    let mut votes = Vec::new();
    for (text, count) in [("right", right), ("wrong", wrong)] {
        if count > 0 {
            let place = tally.add(text, count);
            votes.extend((0..count).map(|_| Vote::For(place)));
        }
    }
    (tally, votes)
}

/// The probability that plurality is right, and the mean number of samples, for a rule that looks
/// at counts only. A tie is right half of the time.
fn exact(stop: Stop, p: f64, samples_max: u32) -> (f64, f64) {
    let mut accuracy = 0.0;
    let mut samples = 0.0;
    let mut states = BTreeMap::from([((0, 0), 1.0)]);
    while !states.is_empty() {
        let mut next = BTreeMap::new();
        for ((right, wrong), probability) in states {
            let (tally, votes) = ballot(right, wrong);
            let count = right + wrong;
            if count == samples_max || stop.is_met(&tally, &votes) {
                samples += probability * f64::from(count);
                accuracy += probability
                    * match right.cmp(&wrong) {
                        std::cmp::Ordering::Less => 0.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Greater => 1.0,
                    };
            } else {
                *next.entry((right + 1, wrong)).or_insert(0.0) += probability * p;
                *next.entry((right, wrong + 1)).or_insert(0.0) += probability * (1.0 - p);
            }
        }
        states = next;
    }
    (accuracy, samples)
}

/// The mean number of samples of a window rule: every window is a fresh trial, and whether one
/// stops is asked of the rule for each of its outcomes.
fn exact_window(size: u32, p: f64, samples_max: u32) -> f64 {
    let stop = Stop::Window { size };
    let mut stops = 0.0;
    for outcome in 0..1_u32 << size {
        let mut tally = Tally::new();
        let mut votes = vec![Vote::Abstained; size as usize];
        let mut probability = 1.0;
        for sample in 0..size {
            let right = outcome >> sample & 1 == 1;
            probability *= if right { p } else { 1.0 - p };
            votes.push(Vote::For(
                tally.add(if right { "right" } else { "wrong" }, 1),
            ));
            assert!(sample + 1 == size || !stop.is_met(&tally, &votes));
        }
        if stop.is_met(&tally, &votes) {
            stops += probability;
        }
    }
    let mut samples = 0.0;
    let mut going = 1.0;
    for _ in 0..samples_max / size {
        samples += going * f64::from(size);
        going *= 1.0 - stops;
    }
    samples
}

#[track_caller]
fn assert_printed(value: f64, digits: usize, printed: &str) {
    assert_eq!(format!("{value:.digits$}"), printed);
}

#[test]
fn votes_of_5_9_and_39_are_as_accurate_as_the_table_says() {
    let table = [
        ["0.6826", "0.7334", "0.8979"],
        ["0.8369", "0.9012", "0.9957"],
        ["0.9421", "0.9804", "1.0000"],
        ["0.9914", "0.9991", "1.0000"],
    ];
    for (p, row) in PROBABILITIES.iter().zip(table) {
        for (samples, printed) in [5, 9, 39].into_iter().zip(row) {
            let (accuracy, mean) = exact(Stop::None, *p, samples);
            assert_printed(accuracy, 4, printed);
            assert!((mean - f64::from(samples)).abs() < 1e-9);
        }
    }
}

#[test]
fn beta_is_as_accurate_and_as_short_as_the_table_says() {
    let table = [
        ("0.8756", "24.161"),
        ("0.9851", "15.114"),
        ("0.9981", "8.718"),
        ("0.9999", "5.622"),
    ];
    for (p, (accuracy, samples)) in PROBABILITIES.iter().zip(table) {
        let exact = exact(BETA, *p, 40);
        assert_printed(exact.0, 4, accuracy);
        assert_printed(exact.1, 3, samples);
    }
}

#[test]
fn windows_of_5_are_as_short_as_the_table_says() {
    let table = ["29.626", "22.752", "14.610", "8.461"];
    for (p, samples) in PROBABILITIES.iter().zip(table) {
        assert_printed(exact_window(5, *p, 40), 3, samples);
    }
}

#[test]
fn unanimous_answers_stop_beta_at_the_fourth() {
    for count in 0..=4 {
        let (tally, votes) = ballot(count, 0);
        assert_eq!(BETA.is_met(&tally, &votes), count == 4);
    }
}

#[test]
fn beta_never_runs_a_sample_ahead_that_the_rule_could_save() {
    for right in 0..20 {
        for wrong in 0..20 {
            let (tally, votes) = ballot(right, wrong);
            if BETA.is_met(&tally, &votes) {
                continue;
            }
            let open = BETA.open_max(None, &tally, &votes);
            let open = u32::try_from(open).unwrap();
            for more_right in 0..open {
                for more_wrong in 0..open - more_right {
                    let (tally, votes) = ballot(right + more_right, wrong + more_wrong);
                    assert!(!BETA.is_met(&tally, &votes), "{right} {wrong} {open}");
                }
            }
        }
    }
}

#[test]
fn an_abstention_breaks_a_window_and_a_failure_is_none_of_the_first_m() {
    let mut tally = Tally::new();
    let vote = Vote::For(tally.add("right", 2));
    let window = Stop::Window { size: 3 };
    assert!(window.is_met(&tally, &[vote, vote, vote]));
    assert!(!window.is_met(&tally, &[vote, Vote::Abstained, vote]));
    assert!(!window.is_met(&tally, &[Vote::Failed; 3]));
    assert!(!window.is_met(&tally, &[]));
    let first = Stop::FirstM { m: 2 };
    assert!(!first.is_met(&tally, &[vote, Vote::Failed]));
    assert!(first.is_met(&tally, &[vote, Vote::Failed, Vote::Abstained]));
}

//! Orders, refusals and draws.

use super::*;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn share(text: &str) -> Share {
    text.parse().unwrap()
}

fn canary(text: &str, of: &str) -> Order {
    Order::Canary {
        digest: digest(text),
        share: share(of),
        rules: Vec::new(),
    }
}

fn promoted(versions: &[&str]) -> Channels {
    let start = Channels::default();
    versions.iter().fold(start, |channels, version| {
        let order = Order::Promote(Some(digest(version)));
        channels.after(order).unwrap()
    })
}

#[test]
fn a_canary_is_promoted_or_ends_and_stable_goes_back_step_by_step() {
    let channels = promoted(&["1", "2"]).after(canary("3", "10")).unwrap();
    assert_eq!(channels.digest(Arm::Stable), Some(digest("2")));
    assert_eq!(channels.digest(Arm::Canary), Some(digest("3")));
    let ended = channels.after(Order::Rollback).unwrap();
    assert_eq!((ended.stable, &ended.canary), (Some(digest("2")), &None));

    let served = channels.after(Order::Promote(None)).unwrap();
    assert_eq!((served.stable, &served.canary), (Some(digest("3")), &None));
    let back = served.after(Order::Rollback).unwrap();
    assert_eq!(back.stable, Some(digest("2")));
    let back = back.after(Order::Rollback).unwrap();
    assert_eq!(back.stable, Some(digest("1")));
    assert_eq!(back.after(Order::Rollback), Err(Refused::NothingBefore));
}

#[test]
fn what_is_so_already_is_refused() {
    let channels = promoted(&["1"]);
    let refused = |order| channels.after(order).unwrap_err();
    assert_eq!(refused(Order::Promote(None)), Refused::NoCanary);
    let already = Refused::Already(digest("1"), Arm::Stable);
    assert_eq!(refused(Order::Promote(Some(digest("1")))), already);
    assert_eq!(refused(canary("1", "5")), already);
    assert_eq!(refused(Order::Follow(digest("1"))), already);
    let channels = channels.after(canary("2", "5")).unwrap();
    assert_eq!(
        channels.after(canary("2", "5")),
        Err(Refused::Already(digest("2"), Arm::Canary))
    );
    let rules = vec![CanaryRule::default(); RULES_MAX + 1];
    let order = Order::Canary {
        digest: digest("2"),
        share: share("5"),
        rules,
    };
    assert!(matches!(
        channels.after(order),
        Err(Refused::TooManyRules { .. })
    ));
}

#[test]
fn another_share_is_the_same_canary_and_another_component_is_not() {
    let first = promoted(&["1"]).after(canary("2", "5")).unwrap();
    let since = |channels: &Channels| channels.canary.as_ref().unwrap().since;
    let more = first.after(canary("2", "50")).unwrap();
    assert_eq!(since(&more), since(&first));
    let other = more.after(canary("3", "50")).unwrap();
    assert!(since(&other) > since(&more));
    let again = other.after(canary("2", "5")).unwrap();
    assert!(since(&again) > since(&other), "what was seen of it is past");
}

#[test]
fn a_plugin_in_the_box_follows_the_host_until_an_operator_chooses() {
    let channels = Channels::default();
    let channels = channels.after(Order::Follow(digest("a"))).unwrap();
    assert!(!channels.chosen);
    let channels = channels.after(Order::Promote(Some(digest("a")))).unwrap();
    assert!(channels.chosen && channels.before.is_empty());
}

#[test]
fn what_serves_cannot_be_removed_and_what_is_removed_is_not_gone_back_to() {
    let channels = promoted(&["1", "2", "1"]).after(canary("3", "5")).unwrap();
    for (text, arm) in [("1", Arm::Stable), ("3", Arm::Canary)] {
        let refused = channels.without(&digest(text)).unwrap_err();
        assert_eq!(refused, Refused::InUse(digest(text), arm));
    }
    let without = channels.without(&digest("2")).unwrap();
    assert_eq!(without.before, []);
    let ended = without.after(Order::Rollback).unwrap();
    assert_eq!(ended.after(Order::Rollback), Err(Refused::NothingBefore));
}

#[test]
fn the_first_rule_that_matches_decides_the_share() {
    let labels = BTreeMap::from([("team".to_owned(), "core".to_owned())]);
    let acme = Tenant::new("acme");
    let rule = |share: &str| CanaryRule {
        share: share.parse().unwrap(),
        ..CanaryRule::default()
    };
    let canary = Canary {
        digest: digest("2"),
        share: share("5"),
        rules: vec![
            CanaryRule {
                role: Some("QA".to_owned()),
                tenant: Some(acme.clone()),
                ..rule("100")
            },
            CanaryRule {
                labels: labels.clone(),
                ..rule("0")
            },
            CanaryRule {
                task_type: Some(TaskType::TaskExtraction),
                ..rule("50")
            },
        ],
        since: 1,
    };
    let id = DeliberationId::new("deliberation-1");
    let (none, other) = (BTreeMap::new(), Tenant::default());
    let asking = Asking {
        id: &id,
        role: "",
        task_type: TaskType::Other,
        labels: &none,
        tenant: &other,
    };
    let of = |asking: &Asking<'_>| canary.share_of(asking).to_string();
    assert_eq!(of(&asking), "5%");
    let qa = Asking {
        role: " qa",
        labels: &labels,
        ..asking
    };
    assert_eq!(of(&qa), "0%");
    assert_eq!(
        of(&Asking {
            tenant: &acme,
            ..qa
        }),
        "100%"
    );
    let extraction = Asking {
        task_type: TaskType::TaskExtraction,
        ..asking
    };
    assert_eq!(of(&extraction), "50%");
}

#[test]
fn a_deliberation_always_draws_the_same_and_all_draw_their_share() {
    let name = PluginName::new(Kind::Strategy, "vote");
    let channels = promoted(&["1"]).after(canary("2", "20")).unwrap();
    let (labels, tenant) = (BTreeMap::new(), Tenant::default());
    let drawn = |number: u32| {
        let id = DeliberationId::new(&format!("deliberation-{number}"));
        let asking = Asking {
            id: &id,
            role: "",
            task_type: TaskType::Other,
            labels: &labels,
            tenant: &tenant,
        };
        let first = channels.assign(&name, &asking).unwrap();
        assert_eq!(channels.assign(&name, &asking).unwrap(), first);
        let (digest_drawn, draw) = first;
        let draw = draw.unwrap();
        assert_eq!(channels.digest(draw.arm), Some(digest_drawn));
        draw.arm == Arm::Canary
    };
    let canaries = (0..2_000).filter(|number| drawn(*number)).count();
    assert!((330..470).contains(&canaries), "{canaries}");
}

//! The host is killed while components arrive: after its start there is the state before or the state
//! after, and never half of one.

use std::time::Duration;

use conclave_tests::client::pb;
use conclave_tests::client::pb::plugin::Channel;
use conclave_tests::client::pb::rollout::Step;
use conclave_tests::host::Host;
use conclave_tests::plugins::parts;
use conclave_tests::steady::{NAME, steady, version};
use conclave_tests::stub_server::StubServer;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream;

use super::support::{plugins, serving};

/// Where in its push a host is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// When so many hundredths of the messages were taken from the client.
    Sent(usize),
    /// So long after the last one.
    After(Duration),
}

fn promoting() -> pb::UploadMetadata {
    pb::UploadMetadata {
        rollout: Some(pb::Rollout {
            step: Step::Promote.into(),
            ..pb::Rollout::default()
        }),
        ..pb::UploadMetadata::default()
    }
}

#[tokio::test]
async fn a_push_that_a_kill_cuts_off_is_whole_or_was_never() {
    let stub = StubServer::start().await.unwrap();
    let mut host = Host::asking(&stub).await.unwrap();
    plugins(&host)
        .await
        .push(&steady(1).unwrap(), None)
        .await
        .unwrap();
    let mut stable = version(1);
    let after = |ms| Kill::After(Duration::from_millis(ms));
    let kills = [Kill::Sent(0), Kill::Sent(50), Kill::Sent(100)];
    let kills = kills.into_iter().chain([0, 5, 20, 60, 150, 400].map(after));
    for (number, kill) in (2..).zip(kills) {
        let bytes = steady(number).unwrap();
        let all = parts(promoting(), &bytes);
        let (feed, fed) = mpsc::channel(1);
        let mut client = plugins(&host).await.raw();
        let stream = tokio_stream::wrappers::ReceiverStream::new(fed);
        let push = tokio::spawn(async move { client.upload_plugin(stream).await });
        let sent = match kill {
            Kill::Sent(percent) => 1 + (all.len() - 1) * percent / 100,
            Kill::After(_) => all.len(),
        };
        for part in all.into_iter().take(sent) {
            // The channel has one place: what was sent before is on its way.
            feed.send(part).await.unwrap();
        }
        let mut answered = false;
        if let Kill::After(wait) = kill {
            drop(feed);
            // Whatever the host does just then, it is killed in it.
            answered = tokio::time::timeout(wait, push).await.is_ok();
        }
        host = host.kill().unwrap().start().await.unwrap();

        let plugins = plugins(&host).await;
        let listed = plugins.list(NAME).await.unwrap();
        let client = host.client().await.unwrap();
        let found = listed.iter().find(|one| one.version == version(number));
        match found.map(pb::Plugin::channel) {
            Some(Channel::Stable) => stable = version(number),
            // It was taken, and killed before it was promoted.
            Some(_) => assert!(!answered, "{kill:?}: an answer was not kept"),
            None => assert!(!answered, "{kill:?}: an answer was not kept"),
        }
        assert_eq!(serving(&client).await, stable, "{kill:?}");
        let (added, channels) = (
            plugins.changes(NAME).await.unwrap(),
            plugins.channels(NAME).await,
        );
        let added = added.iter().filter(|one| {
            one.action() == pb::plugin_change::Action::Added
                && one
                    .plugin
                    .as_ref()
                    .is_some_and(|one| one.version == version(number))
        });
        assert_eq!(added.count(), usize::from(found.is_some()), "{kill:?}");
        assert_eq!(channels.unwrap().stable.unwrap().version, stable);
        // The same push, repeated, does the rest.
        let rollout = promoting().rollout;
        let again = plugins.push(&bytes, rollout).await.unwrap();
        assert_eq!(again.plugin.unwrap().channel(), Channel::Stable, "{kill:?}");
        stable = version(number);
        assert_eq!(serving(&client).await, stable, "{kill:?}");
    }
}

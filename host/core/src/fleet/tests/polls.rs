use super::*;
use crate::cluster::JobSpec;
use crate::testkit::cluster::Life;

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_or_starts_slowly_is_looked_at_as_rarely_as_one_that_runs() {
    let lives: [fn(&JobSpec) -> Life; 3] = [
        |_| Life::pending(),
        |_| Life::steady(),
        |_| Life::failing_after(Duration::ZERO, "no such model"),
    ];
    for life in lives {
        let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", life));
        let probe = Arc::new(ScriptedProbe::default());
        probe.set_ill(&endpoint("http://10.0.0.1:8000"), "connection refused");
        let world = World::new(Parts {
            clusters: named(vec![Arc::clone(&cluster)]),
            models: vec![ModelPlan {
                start_timeout: 3600 * SECOND,
                ..served("m", 1..=1)
            }],
            probe,
            ..Parts::default()
        });
        let rate = async |time: Duration| {
            let before = cluster.polls();
            tokio::time::sleep(time).await;
            cluster.polls() - before
        };
        tokio::time::sleep(SECOND / 2).await;
        let at_first = rate(SECOND).await;
        assert!(at_first >= 2, "{at_first}");
        tokio::time::sleep(600 * SECOND).await;
        let later = rate(600 * SECOND).await;
        // A job that fails is started every minute or half a minute, and looked at closely then.
        assert!((595..1_000).contains(&later), "{later}");
        world.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_look_at_a_time_serves_all_jobs_of_a_cluster() {
    let cluster = steady("10.0.0.1");
    let models = ["m", "n", "o"].map(|name| served(name, 2..=2));
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: models.into(),
        ..Parts::default()
    });
    world
        .until(|status| {
            let replicas = status.models.iter().flat_map(|model| &model.replicas);
            replicas
                .filter(|one| one.job.state == JobState::Healthy)
                .count()
                == 6
        })
        .await;
    let before = cluster.polls();
    tokio::time::sleep(60 * SECOND).await;
    let polls = cluster.polls() - before;
    assert!((55..=65).contains(&polls), "{polls}");
    assert_eq!(cluster.submitted().len(), 6);
}

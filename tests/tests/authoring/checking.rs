//! The canned deliberation of `conclave plugin check`.

use conclave_tests::command::conclave;

use crate::support::Project;

#[tokio::test]
async fn whoever_may_be_a_plugin_has_deliberated_once() {
    for (name, words) in [
        ("sample-vote", "rehearsed: an outcome from "),
        ("first-strategy", "rehearsed: an outcome from 3 generations"),
        ("agreement", "rehearsed: an outcome from no generation"),
    ] {
        let project = Project::of(name);
        let file = project.component(name);
        let file = file.to_str().unwrap();
        let ran = conclave(&["plugin", "check", file]).await.unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains(words), "{name}: {ran:?}");
        let json = conclave(&["plugin", "check", "--json", file])
            .await
            .unwrap();
        let json = json.json().unwrap();
        let told = json["rehearsal"].as_str().unwrap();
        assert!(told.starts_with(words), "{json}");
    }
}

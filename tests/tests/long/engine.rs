//! What a host with a real vLLM does, wherever that vLLM runs.

use std::collections::BTreeMap;

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, answers, failure, pb};
use conclave_tests::components::install;
use conclave_tests::draft::{Change as _, draft, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::vllm::{CONTEXT, Load, MODEL};
use serde_json::{Value, json};
use tempfile::TempDir;

/// More tokens than a small model generates while a test looks on.
const MANY: u32 = 1500;

/// A host, and the vLLM that it asks.
pub(crate) struct Engine {
    pub(crate) client: Client,
    /// The address of vLLM.
    pub(crate) vllm: String,
    /// How the host reaches it, where requests choose that by the label `mode`.
    pub(crate) mode: Option<&'static str>,
    _host: Host,
    _plugins: TempDir,
}

impl Engine {
    /// Starts a host as the setup says, with the tests' strategies.
    pub(crate) async fn of(setup: Setup, vllm: &str) -> Self {
        let plugins = tempfile::tempdir().unwrap();
        install(plugins.path(), &["sampler"]).unwrap();
        let setup = setup.arg("--plugins").arg(plugins.path().to_str().unwrap());
        let host = setup.start().await.unwrap();
        Self {
            client: host.client().await.unwrap(),
            vllm: vllm.to_owned(),
            mode: None,
            _host: host,
            _plugins: plugins,
        }
    }

    /// The same deliberation, in the mode of now, and its task without a model that only the stub knows: a
    /// host that serves models itself refuses others.
    fn labelled(&self, mut deliberation: pb::Deliberation) -> pb::Deliberation {
        let label = self.mode.map(|mode| ("mode".to_owned(), mode.to_owned()));
        deliberation.labels.extend(label);
        deliberation.task(|task| task.model.clone_from(&task.agents[0].model))
    }

    pub(crate) async fn load(&self) -> Load {
        Load::of(&self.vllm).await.unwrap()
    }

    /// A deliberation that completes.
    pub(crate) async fn completed(&self, deliberation: pb::Deliberation) -> pb::Deliberation {
        let done = self.run(deliberation).await;
        assert_eq!(done.state(), State::Completed, "{done:?}");
        done
    }

    async fn run(&self, deliberation: pb::Deliberation) -> pb::Deliberation {
        let run = self.client.run(self.labelled(deliberation));
        run.await.unwrap()
    }

    /// What is counted once nothing is under way any more, with what the server generated for a last
    /// short answer left out: nothing else may have gone on.
    async fn rests_at(&self, load: Load) {
        let done = self.completed(sampler(1, json!({"max_tokens": [5]}))).await;
        let own = done.usage.unwrap().completion_tokens;
        let generated = self.load().await.generated - load.generated;
        assert_eq!(generated, f64::from(i32::try_from(own).unwrap()));
    }
}

/// Every agent is asked once with these settings.
pub(crate) fn sampler(agents: usize, params: Value) -> pb::Deliberation {
    draft(&vec![MODEL; agents])
        .strategy("sampler", params)
        .scorer("agreement", json!({}))
}

/// All that holds of a host and vLLM, one after the other: they have two cores.
pub(crate) async fn holds(engine: &Engine) {
    every_agent_answers_and_tokens_are_counted(engine).await;
    every_token_has_its_log_probability(engine).await;
    answers_satisfy_their_schema(engine).await;
    an_unknown_model_is_named(engine).await;
    what_is_longer_than_the_context_is_rejected(engine).await;
    a_cancel_ends_the_work_in_the_engine(engine).await;
    an_early_stop_ends_the_work_in_the_engine(engine).await;
}

pub(crate) async fn every_agent_answers_and_tokens_are_counted(engine: &Engine) {
    let before = engine.load().await;
    let done = engine
        .completed(sampler(3, json!({"max_tokens": [16], "temperature": 1.0})))
        .await;
    let texts = answers(&done);
    assert_eq!(texts.len(), 3, "{done:?}");
    assert!(texts.iter().all(|text| !text.is_empty()), "{texts:?}");
    let usage = done.usage.unwrap();
    assert_eq!(usage.generations_completed, 3);
    let generated = engine.load().await.generated - before.generated;
    assert_eq!(
        generated,
        f64::from(i32::try_from(usage.completion_tokens).unwrap())
    );
    assert!(usage.prompt_tokens > 0, "{usage:?}");
}

async fn every_token_has_its_log_probability(engine: &Engine) {
    let done = engine
        .completed(sampler(2, json!({"max_tokens": [6], "logprobs": 2})))
        .await;
    let told: BTreeMap<_, _> = done.outcome.unwrap().metadata.into_iter().collect();
    for agent in ["a", "b"] {
        let told = |what: &str| told[&format!("{agent}.{what}")].as_str();
        assert_ne!(told("tokens"), "0");
        assert_eq!(told("logprobs"), told("tokens"));
        assert_eq!(told("logprobs_sound"), "true");
    }
}

async fn answers_satisfy_their_schema(engine: &Engine) {
    let schema = json!({
        "type": "object",
        "properties": {"verdict": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}},
        "required": ["verdict", "sure"],
        "additionalProperties": false
    });
    let params = json!({"max_tokens": [64], "temperature": 1.0, "json_schema": schema});
    let done = engine.completed(sampler(3, params)).await;
    for answer in answers(&done) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert!(
            answer["verdict"] == "yes" || answer["verdict"] == "no",
            "{answer}"
        );
        assert!(answer["sure"].is_boolean(), "{answer}");
        assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    }
}

async fn an_unknown_model_is_named(engine: &Engine) {
    let done = engine.run(vote(&["nobody"])).await;
    let (reason, message) = failure(&done);
    assert_eq!(reason, "ALL_AGENTS_FAILED", "{message}");
    assert!(
        message.contains("model `nobody` is not served"),
        "{message}"
    );
}

async fn what_is_longer_than_the_context_is_rejected(engine: &Engine) {
    let answer = json!({"stop": {"rule": "none"}, "max_tokens": CONTEXT + 1});
    let answer = vote(&[MODEL]).strategy("sample-vote", answer);
    let prompt = vote(&[MODEL]).task(|task| task.description = "word ".repeat(CONTEXT as usize));
    for long in [answer, prompt] {
        let done = engine.run(long.retries(0)).await;
        let (reason, message) = failure(&done);
        assert_eq!(reason, "ALL_AGENTS_FAILED", "{message}");
        assert!(
            message.contains("rejected the request with status 400"),
            "{message}"
        );
        assert!(message.contains(&CONTEXT.to_string()), "{message}");
    }
}

fn endless(agents: usize, params: Value) -> pb::Deliberation {
    sampler(agents, params).task(|task| {
        task.description = "Count from 1 to 2000, each number on a line of its own.".to_owned();
    })
}

pub(crate) async fn a_cancel_ends_the_work_in_the_engine(engine: &Engine) {
    let params = json!({"max_tokens": [MANY], "temperature": 1.0});
    let asked = engine.labelled(endless(4, params));
    let created = engine.client.create(asked).await.unwrap();
    let under_way = |load: &Load| load.running >= 4.0;
    let before = Load::until(&engine.vllm, "four answers under way", under_way)
        .await
        .unwrap();
    let cancelled = engine.client.cancel(&created.uid, "enough").await.unwrap();
    assert_eq!(cancelled.state(), State::Cancelled);
    assert_eq!(cancelled.usage.unwrap().generations_cancelled, 4);
    nothing_goes_on(engine, before).await;
}

async fn an_early_stop_ends_the_work_in_the_engine(engine: &Engine) {
    let before = engine.load().await;
    let params = json!({"max_tokens": [8, MANY, MANY, MANY], "temperature": 1.0, "answers": 1});
    let done = engine.completed(endless(4, params)).await;
    let usage = done.usage.unwrap();
    assert_eq!(
        (usage.generations_completed, usage.generations_cancelled),
        (1, 3)
    );
    nothing_goes_on(engine, before).await;
}

/// What was aborted does not run to its end, as few tokens tell; and once it does not run, no token
/// comes.
async fn nothing_goes_on(engine: &Engine, before: Load) {
    let none = |load: &Load| load.running + load.waiting < 1.0;
    let load = Load::until(&engine.vllm, "no answer under way", none)
        .await
        .unwrap();
    let more = load.generated - before.generated;
    assert!(more < f64::from(MANY) / 3.0, "{more} tokens more");
    engine.rests_at(load).await;
}

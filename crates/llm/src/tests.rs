//! Models against the sandbox's, in both protocols.

use std::sync::Arc;
use std::time::Duration;

use greenroom_http::Class;
use greenroom_model::Clock;
use greenroom_sandbox::{Endpoint, Fault, Misbehaviour, Rule, Running, Sandbox};
use serde_json::{Value, json};

use super::*;

struct World {
    sandbox: Arc<Running>,
    model: Model,
    endpoint: Endpoint,
}

const BOTH: [Provider; 2] = [Provider::Openai, Provider::Anthropic];

fn settings(section: &str, changes: &[(&str, Value)]) -> toml::Table {
    let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let mut table: toml::Table = config.remove(section).unwrap().try_into().unwrap();
    for (key, value) in changes {
        table.insert((*key).to_owned(), toml::Value::try_from(value).unwrap());
    }
    table
}

impl World {
    async fn new(provider: Provider, changes: &[(&str, Value)], key: Option<&str>) -> Self {
        let sandbox = Sandbox::start(greenroom_sandbox::Settings::default()).await.unwrap();
        let ready = sandbox.ready();
        let mut all = vec![
            ("provider", json!(provider.as_str())),
            ("base_url", json!(format!("{}/v1/", ready.base_url))),
            ("model", json!(ready.llm.model)),
        ];
        all.extend_from_slice(changes);
        let http: greenroom_http::Settings = settings("http", &[]).try_into().unwrap();
        let key = greenroom_vault::Secret::from(key.unwrap_or(&ready.llm.api_key));
        let llm: Settings = settings("llm", &all).try_into().unwrap();
        let model = Model::new(llm, Some(key), &http, Clock::system()).unwrap().unwrap();
        let endpoint =
            if provider == Provider::Anthropic { Endpoint::Messages } else { Endpoint::ChatCompletions };
        Self { sandbox: Arc::new(sandbox), model, endpoint }
    }

    fn inject(&self, fault: Fault) {
        self.sandbox.inject(Rule { endpoint: None, after: 0, times: Some(1), fault });
    }

    fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.inject(Fault::Model(misbehaviour));
    }

    fn error(&self, status: u16, reason: &str, retry_after_secs: Option<u64>) {
        self.inject(Fault::Error { status, reason: reason.to_owned(), retry_after_secs });
    }

    async fn ask(&self) -> Result<Reply, Failure> {
        let schema = Schema { name: "labels", schema: json!({"type": "object"}) };
        let user = json!([{"i": "a1", "t": "What camera is this?"}]).to_string();
        let ask = Ask { system: "Label the comments.", user: &user, schema: &schema, max_output_tokens: 260 };
        self.model.ask(&ask).await
    }

    fn calls(&self) -> u64 {
        self.sandbox.stats().calls(self.endpoint)
    }
}

#[tokio::test]
async fn a_document_comes_back_with_what_it_used() {
    for provider in BOTH {
        let world = World::new(provider, &[], None).await;
        let reply = world.ask().await.unwrap();
        assert_eq!(reply.outcome.unwrap()["r"][0]["c"], json!(["question"]));
        assert!(reply.usage.input > 10 && reply.usage.output > 10, "{:?}", reply.usage);
        assert_eq!((reply.model.as_str(), world.calls()), ("gpt-4o-mini", 1));
    }
}

#[tokio::test]
async fn an_answer_of_no_use_is_told_and_counted() {
    for provider in BOTH {
        let world = World::new(provider, &[], None).await;
        for (misbehaviour, unusable) in [
            (Misbehaviour::Refuse, Unusable::Refused),
            (Misbehaviour::Truncate, Unusable::Truncated),
            (Misbehaviour::Babble, Unusable::Malformed),
        ] {
            world.misbehave(misbehaviour);
            let reply = world.ask().await.unwrap();
            assert_eq!(reply.outcome, Err(unusable), "{provider:?}");
            assert!(reply.usage.input > 0, "it is paid for");
        }
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    for provider in BOTH {
        let world = World::new(provider, &[], None).await;
        for (status, reason, class) in [
            (500, "server_error", Class::Retry),
            (529, "overloaded_error", Class::Retry),
            (429, "rate_limit_exceeded", Class::Retry),
            (402, "billing_error", Class::Reject),
            (400, "invalid_request_error", Class::Reject),
        ] {
            world.error(status, reason, None);
            let failure = world.ask().await.unwrap_err();
            assert_eq!((failure.class(), may_have_cost(&failure)), (class, false), "{provider:?} {failure}");
        }
        let stranger = World::new(provider, &[], Some("sk-wrong")).await;
        let failure = stranger.ask().await.unwrap_err();
        assert_eq!((failure.status(), failure.class()), (Some(401), Class::Reject));
        assert!(!failure.to_string().contains("sk-wrong"), "{failure}");

        // Whoever breaks off may have been paid for.
        world.inject(Fault::Reset);
        let failure = world.ask().await.unwrap_err();
        assert!(may_have_cost(&failure), "{failure}");
    }
    let world = World::new(Provider::Openai, &[], None).await;
    world.error(429, "insufficient_quota", None);
    assert_eq!(world.ask().await.unwrap_err().class(), Class::Reject, "no waiting helps");
    let world = World::new(Provider::Anthropic, &[], None).await;
    world.error(429, "enforced_spend_limit_reached", None);
    assert!(matches!(world.ask().await.unwrap_err().class(), Class::RetryAt(_)), "until the month is over");
    let before = world.calls();
    assert!(matches!(world.ask().await.unwrap_err().class(), Class::RetryAt(_)));
    assert_eq!(world.calls(), before, "and it is not asked meanwhile");
}

#[tokio::test]
async fn what_a_server_announces_is_kept_to() {
    for provider in BOTH {
        let world = World::new(provider, &[], None).await;
        world.misbehave(Misbehaviour::Pace { secs: 1 });
        world.ask().await.unwrap();
        let begun = std::time::Instant::now();
        world.ask().await.unwrap();
        assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());

        world.misbehave(Misbehaviour::Pace { secs: 3_600 });
        world.ask().await.unwrap();
        let failure = world.ask().await.unwrap_err();
        assert!(matches!(failure.class(), Class::RetryAt(_)), "{failure}");
        let world = World::new(provider, &[], None).await;
        world.error(429, "rate_limit_error", Some(3_600));
        assert!(matches!(world.ask().await.unwrap_err().class(), Class::RetryAt(_)));
    }
}

#[tokio::test]
async fn a_server_without_schemas_is_asked_otherwise_from_then_on() {
    let world = World::new(Provider::Openai, &[("max_tokens_field", json!("max_tokens"))], None).await;
    world.sandbox.inject(Rule {
        endpoint: None,
        after: 0,
        times: None,
        fault: Fault::Model(Misbehaviour::NoSchema),
    });
    assert!(world.ask().await.unwrap().outcome.is_ok());
    assert_eq!(world.calls(), 2);
    assert!(world.ask().await.unwrap().outcome.is_ok());
    assert_eq!(world.calls(), 3, "it is remembered");
}

#[test]
fn settings_that_name_no_model_are_refused() {
    let http: greenroom_http::Settings = settings("http", &[]).try_into().unwrap();
    let off: Settings = settings("llm", &[]).try_into().unwrap();
    assert!(Model::new(off, None, &http, Clock::system()).unwrap().is_none());
    for (changes, says) in [
        (vec![("provider", json!("openai")), ("model", json!(""))], "llm.model: name the model"),
        (
            vec![("provider", json!("openai")), ("model", json!("m")), ("base_url", json!("nowhere"))],
            "llm.base_url",
        ),
    ] {
        let settings: Settings = settings("llm", &changes).try_into().unwrap();
        let error = Model::new(settings, None, &http, Clock::system()).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

//! Faults that a test scripts: which call fails, when, and how.

use serde::{Deserialize, Serialize};

use crate::{endpoint::Endpoint, smtp::Mishap, world::Change};

/// A fault and the calls that meet it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The endpoint; any when absent.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// How many of its calls pass first, counted from when the rule is given.
    #[serde(default)]
    pub after: u64,
    /// How many calls then meet the fault; all of them when null.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// What happens to them.
    #[serde(flatten)]
    pub fault: Fault,
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's own type")]
fn once() -> Option<u64> {
    Some(1)
}

impl Rule {
    /// Makes a rule for the next call of an endpoint.
    pub fn next(endpoint: Endpoint, fault: Fault) -> Self {
        Self { endpoint: Some(endpoint), after: 0, times: Some(1), fault }
    }

    /// Lets some calls pass first.
    #[must_use]
    pub fn after(self, calls: u64) -> Self {
        Self { after: calls, ..self }
    }

    /// Says how many calls meet the fault.
    #[must_use]
    pub fn times(self, calls: u64) -> Self {
        Self { times: Some(calls), ..self }
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The vendor's error body with this reason; its message and domain follow from the reason.
    Error {
        /// The HTTP status.
        status: u16,
        /// The reason, such as `backendError`, or for `token` the OAuth error.
        reason: String,
        /// The value of `Retry-After`.
        #[serde(default)]
        retry_after_secs: Option<u64>,
    },
    /// An answer that is not the vendor's, such as a proxy's page.
    Raw {
        /// The HTTP status.
        status: u16,
        /// The content type.
        #[serde(default = "html")]
        content_type: String,
        /// The body.
        body: String,
    },
    /// A page of at most so many items, with a next page token all the same.
    ShortPage {
        /// How many.
        items: usize,
    },
    /// The first page again, whatever page was asked for.
    RepeatedPage,
    /// All access tokens expire before the call.
    ExpireTokens,
    /// The bucket's quota is used up, until the next Pacific midnight.
    ExhaustQuota,
    /// The connection is cut in the middle of the answer.
    Reset,
    /// The answer begins after a delay.
    Delay {
        /// How long, in milliseconds.
        millis: u64,
    },
    /// The answer's head comes at once and its body in pieces.
    SlowBody {
        /// How long the body takes, in milliseconds.
        millis: u64,
    },
    /// The language model misbehaves.
    Model(Misbehaviour),
    /// The mail server misbehaves.
    Mail(Mishap),
    /// Something happens on the platform just before the answer, which is then in order.
    Change(Change),
}

/// What a language model can do to a list of items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "misbehaviour", rename_all = "snake_case")]
pub enum Misbehaviour {
    /// It would not answer, whatever is asked.
    Refuse,
    /// It would not answer what has this in it.
    RefuseIf {
        /// Which text.
        says: String,
    },
    /// Its answer is cut off in the middle.
    Truncate,
    /// Its answer is no JSON.
    Babble,
    /// It leaves out every so many items.
    Drop {
        /// Each of which; 2 is every second.
        every: usize,
    },
    /// It says every item twice, the second time otherwise.
    Repeat,
    /// It adds items that nobody has asked for.
    Invent,
    /// It uses words that the schema does not have.
    BreakSchema,
    /// It does what the items tell it: everything is a collaboration, with a word of its own.
    Obey,
    /// It does not know schemas: it refuses to be asked by one.
    NoSchema,
    /// It announces that nothing is left, for so many seconds.
    Pace {
        /// How long.
        secs: u64,
    },
}

fn html() -> String {
    "text/html; charset=utf-8".to_owned()
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Watch>,
}

#[derive(Debug)]
struct Watch {
    rule: Rule,
    calls: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(Watch { rule, calls: 0 });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Counts a call and returns what happens to it, in the order in which the rules were given.
    pub(crate) fn met_by(&mut self, endpoint: Endpoint) -> Vec<Fault> {
        let mut met = Vec::new();
        self.rules.retain_mut(|Watch { rule, calls }| {
            if rule.endpoint.is_some_and(|wanted| wanted != endpoint) {
                return true;
            }
            *calls += 1;
            if *calls > rule.after {
                met.push(rule.fault.clone());
            }
            rule.times.is_none_or(|times| *calls < rule.after + times)
        });
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_waits_strikes_and_is_gone() {
        let mut faults = Faults::default();
        faults.add(Rule::next(Endpoint::Videos, Fault::Reset).after(1).times(2));
        let met = (0..5).map(|_| faults.met_by(Endpoint::Videos).len()).collect::<Vec<_>>();
        assert_eq!(met, [0, 1, 1, 0, 0]);
        assert!(faults.rules.is_empty());
    }

    #[test]
    fn a_rule_does_not_count_the_calls_of_others() {
        let mut faults = Faults::default();
        faults.add(Rule::next(Endpoint::Videos, Fault::Reset).after(1));
        for _ in 0..3 {
            assert!(faults.met_by(Endpoint::Channels).is_empty());
        }
        assert!(faults.met_by(Endpoint::Videos).is_empty());
        assert_eq!(faults.met_by(Endpoint::Videos), [Fault::Reset]);
    }

    #[test]
    fn rules_are_read_from_json() {
        let read = |text: &str| serde_json::from_str::<Rule>(text).expect(text);
        let rule = read(
            r#"{"endpoint":"commentThreads","after":3,"kind":"error","status":500,"reason":"backendError"}"#,
        );
        assert_eq!((rule.endpoint, rule.after, rule.times), (Some(Endpoint::CommentThreads), 3, Some(1)));
        let rule = read(r#"{"kind":"reset","times":null}"#);
        assert_eq!((rule.endpoint, rule.times, rule.fault), (None, None, Fault::Reset));
        let rule = read(r#"{"kind":"change","change":"delete_video","video_id":"abc"}"#);
        assert_eq!(rule.fault, Fault::Change(Change::DeleteVideo { video_id: "abc".to_owned() }));
    }
}

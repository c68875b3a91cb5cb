//! What the stub does with a request, as the model's name says it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What the stub does with a request. Written as a model name, words separated by colons; `THEN` is
/// another behaviour, or nothing for the default answer. Of several answers to one request (`n`), as in
/// vLLM, each has the seed that follows the one before, and a token of each comes in turn.
///
/// | name | what happens |
/// |---|---|
/// | any other | the default answer, `The answer is 42.`, at once |
/// | `echo` | the last user message |
/// | `answer:TEXT` | this text |
/// | `vote:a,b,a` | the item at `seed % count`; without a seed, as `cycle` |
/// | `cycle:a,b,a` | the next item, in the order in which this model is asked for answers |
/// | `slow:MS[:THEN]` | waits before the first byte |
/// | `slow-tokens:N:MS` | `N` tokens with a wait before each |
/// | `think:TEXT[:THEN]` | `TEXT`, which has no colon, as reasoning first |
/// | `plain[:THEN]` | one JSON answer even where a stream is asked for |
/// | `no-usage[:THEN]` | no usage even where it is asked for |
/// | `status:CODE[:retry-after=VALUE]` | refuses with this status |
/// | `flaky:N[:THEN]` | status 503 to the first `N` requests of each prompt and seed |
/// | `single[:THEN]` | status 400 to a request for several answers |
/// | `unknown…` | status 404, as vLLM answers about a model that it does not serve |
/// | `held[:THEN]` | an answer that lives, but whose first token waits for a release |
/// | `half-stream[:THEN]` | ends after half of the tokens |
/// | `hang` | sends no byte |
/// | `hang-after:N[:THEN]` | falls silent after `N` tokens; of several answers, those that are whole by then are finished |
/// | `endless` | tokens without end |
/// | `endless-text` | one token without end, in one event or as one JSON answer |
/// | `invalid-json` | an event, or a body, that is no JSON |
/// | `error-event[:THEN]` | an error in place of the second half of the stream |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The default answer.
    Default,
    /// The last user message.
    Echo,
    /// This text.
    Answer(String),
    /// One of these by the seed.
    Vote(Vec<String>),
    /// These in turn.
    Cycle(Vec<String>),
    /// Waits first.
    Slow(Duration, Box<Self>),
    /// So many tokens, with a wait before each.
    SlowTokens(usize, Duration),
    /// Reasons first.
    Think(String, Box<Self>),
    /// Does not stream.
    Plain(Box<Self>),
    /// Counts nothing.
    NoUsage(Box<Self>),
    /// Refuses with a status and the value of a `Retry-After` header.
    Status(u16, Option<String>),
    /// Fails so many times for each prompt and seed.
    Flaky(u32, Box<Self>),
    /// Gives no several answers at once.
    Single(Box<Self>),
    /// Does not know the model.
    Unknown,
    /// Lives, and waits for a release.
    Held(Box<Self>),
    /// Ends in its middle.
    HalfStream(Box<Self>),
    /// Falls silent after so many tokens; before the first byte for none.
    Hang(usize, Box<Self>),
    /// Never ends: with many tokens, or with one.
    Endless(Endless),
    /// Sends what is no JSON.
    InvalidJson,
    /// Sends an error in its middle.
    ErrorEvent(Box<Self>),
}

/// What never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endless {
    /// Token follows token.
    Tokens,
    /// One token.
    Text,
}

/// A model name that begins like a behaviour and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoBehaviour(String);

impl fmt::Display for NoBehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the stub does not understand the model name `{}`",
            self.0
        )
    }
}

impl std::error::Error for NoBehaviour {}

impl FromStr for Behaviour {
    type Err = NoBehaviour;

    fn from_str(name: &str) -> Result<Self, NoBehaviour> {
        let broken = || NoBehaviour(name.to_owned());
        let (word, rest) = name.split_once(':').unwrap_or((name, ""));
        Ok(match word {
            "echo" => Self::Echo,
            "answer" => Self::Answer(rest.to_owned()),
            "vote" => Self::Vote(items(rest)),
            "cycle" => Self::Cycle(items(rest)),
            "slow" => {
                let (ms, then) = number_and_then(rest).ok_or_else(broken)?;
                Self::Slow(Duration::from_millis(ms), then?)
            }
            "slow-tokens" => {
                let (count, ms) = rest.split_once(':').ok_or_else(broken)?;
                let ms = ms.parse().map_err(|_| broken())?;
                let count = count.parse().map_err(|_| broken())?;
                Self::SlowTokens(count, Duration::from_millis(ms))
            }
            "think" => {
                let (thought, then) = rest.split_once(':').unwrap_or((rest, ""));
                Self::Think(thought.to_owned(), boxed(then)?)
            }
            "plain" => Self::Plain(boxed(rest)?),
            "no-usage" => Self::NoUsage(boxed(rest)?),
            "status" => {
                let (code, after) = rest.split_once(':').unwrap_or((rest, ""));
                let after = after.strip_prefix("retry-after=").map(ToOwned::to_owned);
                Self::Status(code.parse().map_err(|_| broken())?, after)
            }
            "flaky" => {
                let (times, then) = number_and_then(rest).ok_or_else(broken)?;
                Self::Flaky(u32::try_from(times).map_err(|_| broken())?, then?)
            }
            "single" => Self::Single(boxed(rest)?),
            "held" => Self::Held(boxed(rest)?),
            "half-stream" => Self::HalfStream(boxed(rest)?),
            "hang" => Self::Hang(0, Box::new(Self::Default)),
            "hang-after" => {
                let (tokens, then) = number_and_then(rest).ok_or_else(broken)?;
                Self::Hang(usize::try_from(tokens).map_err(|_| broken())?, then?)
            }
            "endless" => Self::Endless(Endless::Tokens),
            "endless-text" => Self::Endless(Endless::Text),
            "invalid-json" => Self::InvalidJson,
            "error-event" => Self::ErrorEvent(boxed(rest)?),
            _ if word.starts_with("unknown") => Self::Unknown,
            _ => Self::Default,
        })
    }
}

type Then = Result<Box<Behaviour>, NoBehaviour>;

fn boxed(then: &str) -> Then {
    then.parse().map(Box::new)
}

fn number_and_then(rest: &str) -> Option<(u64, Then)> {
    let (number, then) = rest.split_once(':').unwrap_or((rest, ""));
    Some((number.parse().ok()?, boxed(then)))
}

fn items(list: &str) -> Vec<String> {
    list.split(',').map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_behaviours_and_behaviours_nest() {
        let parse = |name: &str| name.parse::<Behaviour>().unwrap();
        assert_eq!(parse("Qwen/Qwen3-0.6B"), Behaviour::Default);
        assert_eq!(
            parse("answer:{\"a\":1}"),
            Behaviour::Answer("{\"a\":1}".to_owned())
        );
        let vote = Behaviour::Vote(vec!["a".to_owned(), "b".to_owned()]);
        let flaky = Behaviour::Flaky(2, Box::new(vote));
        assert_eq!(
            parse("slow:5:flaky:2:vote:a,b"),
            Behaviour::Slow(Duration::from_millis(5), Box::new(flaky))
        );
        assert_eq!(
            parse("status:429:retry-after=1"),
            Behaviour::Status(429, Some("1".to_owned()))
        );
        assert_eq!(parse("unknown-model"), Behaviour::Unknown);
    }

    #[test]
    fn a_misspelt_behaviour_is_refused() {
        for name in [
            "slow",
            "slow:x",
            "slow-tokens:3",
            "status:many",
            "flaky:-1",
            "slow:5:flaky:x",
        ] {
            assert!(name.parse::<Behaviour>().is_err(), "{name}");
        }
    }
}

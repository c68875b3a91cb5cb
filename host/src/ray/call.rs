//! One call to a dashboard: sent, tried again where that can help, read within bounds.

use conclave_core::cluster::Error;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, Request, Response, redirect, retry};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::refusal::{self, Verdict};
use super::retries::persist;
use super::settings::{InvalidSettings, Settings};

/// The largest answer that is read. A list of jobs has up to 20 kB of log for each that failed.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A dashboard that can be called.
#[derive(Debug)]
pub(super) struct Dashboard {
    client: Client,
    settings: Settings,
    /// The `Authorization` header, marked as sensitive.
    authorization: Option<HeaderValue>,
}

/// What a dashboard answered, for good: another try would bring the same.
#[derive(Debug)]
pub(super) enum Answer {
    /// It did what it was asked.
    Done(Vec<u8>),
    /// It did not.
    Refused(Refused),
}

/// How it said that it will not.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) text: String,
}

/// The end of an answer, which may be longer.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Dashboard {
    pub(super) fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        let authorization = authorization(&settings)?;
        // An error means that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            // Ray takes what begins with `Mozilla` for a browser, and refuses it.
            .user_agent(concat!("conclave/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .tcp_nodelay(true)
            .connect_timeout(settings.connect_timeout);
        if !settings.address.is_encrypted() {
            // Reading the system's certificates takes a while, and a container may have none.
            builder = builder.tls_certs_only([]);
        } else if let Some(roots) = &settings.roots {
            builder = builder.tls_certs_only(roots.certificates());
        }
        Ok(Self {
            client: builder.build().map_err(InvalidSettings::Client)?,
            settings,
            authorization,
        })
    }

    /// The URL of a path, each of whose segments is encoded.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        self.settings.address.join(segments)
    }

    /// The address, for errors.
    pub(super) fn address(&self) -> String {
        self.settings.address.to_string()
    }

    pub(super) async fn get(&self, url: Url) -> Result<Answer, Error> {
        self.call(Request::new(Method::GET, url)).await
    }

    /// Makes the call, until it is answered for good or the tries are used up.
    pub(super) async fn call(&self, request: Request) -> Result<Answer, Error> {
        self.persist(|| self.answer(&request)).await
    }

    /// The last bytes of an answer of any length.
    pub(super) async fn tail(&self, url: Url, bytes_max: usize) -> Result<Answer, Error> {
        let request = Request::new(Method::GET, url);
        self.persist(|| self.end_of_answer(&request, bytes_max))
            .await
    }

    async fn persist<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let Settings {
            retry, tries_max, ..
        } = self.settings;
        persist(retry, tries_max, attempt).await
    }

    async fn answer(&self, request: &Request) -> Result<Answer, Error> {
        let read = async {
            let response = self.send(request).await?;
            let status = response.status().as_u16();
            let body = self.body(response).await?;
            self.judged(status, body)
        };
        self.in_time(read).await
    }

    async fn end_of_answer(&self, request: &Request, bytes_max: usize) -> Result<Answer, Error> {
        let read = async {
            let mut response = self.send(request).await?;
            let status = response.status();
            if !status.is_success() {
                let body = self.body(response).await?;
                return self.judged(status.as_u16(), body);
            }
            let mut tail = Tail {
                bytes_max,
                ..Tail::default()
            };
            while let Some(bytes) = self.received(response.chunk().await)? {
                tail.push(&bytes);
            }
            Ok(Answer::Done(tail.bytes))
        };
        self.in_time(read).await
    }

    async fn in_time<T>(
        &self,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let within = self.settings.timeout;
        timeout(within, attempt).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                address: self.address(),
                within,
            })
        })
    }

    async fn send(&self, request: &Request) -> Result<Response, Error> {
        let mut request = request.try_clone().expect("no body is a stream");
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.received(self.client.execute(request).await)
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(bytes) = self.received(response.chunk().await)? {
            body.extend_from_slice(&bytes);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.protocol(format!("it is larger than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        Ok(body)
    }

    /// What an answer of this status means.
    fn judged(&self, status: u16, body: Vec<u8>) -> Result<Answer, Error> {
        if (200..300).contains(&status) {
            return Ok(Answer::Done(body));
        }
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if let Some(token) = &self.settings.token {
            text = text.replace(token.reveal(), "(hidden)");
        }
        let address = self.address();
        let message = refusal::reason(&text);
        match refusal::verdict(status, &text) {
            Verdict::Denied => Err(Error::Denied {
                address,
                status,
                message,
            }),
            Verdict::Elsewhere => {
                Err(self.protocol(format!("it has the status {status}: {message}")))
            }
            Verdict::Refused => Ok(Answer::Refused(Refused { status, text })),
            Verdict::Failed => Err(Error::Unavailable {
                address,
                source: format!("it answered with status {status}: {message}").into(),
            }),
        }
    }

    fn received<T>(&self, result: reqwest::Result<T>) -> Result<T, Error> {
        result.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let (address, within) = (self.address(), self.settings.connect_timeout);
        if error.is_timeout() {
            return Error::Timeout { address, within };
        }
        Error::Unavailable {
            address,
            // The address says the URL.
            source: error.without_url().into(),
        }
    }

    /// An error about an answer that no dashboard gives.
    pub(super) fn protocol(&self, reason: impl Into<String>) -> Error {
        Error::Protocol {
            address: self.address(),
            reason: reason.into(),
        }
    }

    /// An error about a request that the dashboard will never take.
    pub(super) fn rejected(&self, refused: &Refused) -> Error {
        Error::Rejected {
            address: self.address(),
            status: refused.status,
            message: refusal::reason(&refused.text),
        }
    }

    /// Reads JSON.
    pub(super) fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| {
            let start: String = String::from_utf8_lossy(body).chars().take(80).collect();
            self.protocol(format!("{error}, in `{}`", start.escape_debug()))
        })
    }
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(self.bytes_max);
        self.bytes.drain(..excess);
    }
}

fn authorization(settings: &Settings) -> Result<Option<HeaderValue>, InvalidSettings> {
    let Some(token) = &settings.token else {
        return Ok(None);
    };
    let token = token.reveal();
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = HeaderValue::try_from(format!("Bearer {token}")).ok();
    let header = header.filter(|_| visible);
    let mut header =
        header.ok_or_else(|| InvalidSettings::TokenNotAHeader(settings.address.clone()))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

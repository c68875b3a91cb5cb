//! What a deliberation does, seen from outside: through its ports, its journal and its use cases.

mod canary;
mod divergence;
mod endings;
mod events;
mod follow;
mod journal;
mod limits;
mod pause;
mod replay;
mod retries;
mod scoring;
mod submit;
mod support;
mod tenants;
mod watch;
mod waves;
